"""An MCP server of both eras (2025-11-25 with sessions, 2026-07-28 without) that has what the conformance suite calls.

It passes the suite directly, so whatever fails through the gateway is the gateway's doing.
Usage: everything_server.py --port PORT, then http://127.0.0.1:PORT/mcp
"""

import argparse
import contextlib
import json
import re
import warnings
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError

from everything_tools import PNG, TOOLS, embedded, filled, form, image, needs, text


class Events(EventStore):
    """Every event in one list; its number is its id, and the stream that it went to stands beside it."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        self.all.append((stream_id, message))
        return str(len(self.all))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        if not last_event_id.isdecimal() or not 0 < int(last_event_id) <= len(self.all):
            return None
        last = int(last_event_id)
        stream_id, _ = self.all[last - 1]
        for number, (stream, message) in enumerate(self.all[last:], last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def list_tools(_ctx: Any, _params: Any) -> types.ListToolsResult:
    tools = [types.Tool(name=name, description=it.description, input_schema=it.schema) for name, it in TOOLS.items()]
    return types.ListToolsResult(tools=tools)


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    if params.name not in TOOLS:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}")
    try:
        answer = await TOOLS[params.name].run(ctx, params)
    except MCPError:
        raise
    except Exception as error:
        return types.CallToolResult(content=[text(str(error))], is_error=True)
    if isinstance(answer, types.InputRequiredResult):
        return answer
    return types.CallToolResult(content=[text(answer)] if isinstance(answer, str) else answer)


RESOURCES = {
    "test://static-text": ("A text", "text/plain"),
    "test://static-binary": ("An image", "image/png"),
    "test://watched-resource": ("A text that clients subscribe to", "text/plain"),
}
TEMPLATE = "test://template/{id}/data"


async def list_resources(_ctx: Any, _params: Any) -> types.ListResourcesResult:
    resources = [
        types.Resource(uri=uri, name=uri.removeprefix("test://"), description=description, mime_type=mime_type)
        for uri, (description, mime_type) in RESOURCES.items()
    ]
    return types.ListResourcesResult(resources=resources)


async def list_templates(_ctx: Any, _params: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template=TEMPLATE, name="template", description="Data by id", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if match := re.fullmatch(r"test://template/([^/]+)/data", uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        contents: Any = types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    elif uri == "test://static-binary":
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif uri in RESOURCES:
        words = uri.removeprefix("test://").replace("-", " ").removesuffix(" resource")
        contents = types.TextResourceContents(
            uri=uri, mime_type="text/plain", text=f"This is the content of the {words} resource."
        )
    else:
        raise MCPError(code=types.INVALID_PARAMS, message="Resource not found", data={"uri": uri})
    return types.ReadResourceResult(contents=[contents])


async def accept(_ctx: Any, _params: Any) -> types.EmptyResult:
    return types.EmptyResult()


PROMPTS = {
    "test_simple_prompt": ("One text", ()),
    "test_prompt_with_arguments": ("A text made of two arguments", ("arg1", "arg2")),
    "test_prompt_with_embedded_resource": ("A resource and a text", ("resourceUri",)),
    "test_prompt_with_image": ("An image and a text", ()),
    "test_input_required_result_prompt": ("Needs something from the person first", ()),
}


async def list_prompts(_ctx: Any, _params: Any) -> types.ListPromptsResult:
    prompts = [
        types.Prompt(
            name=name,
            description=description,
            arguments=[types.PromptArgument(name=it, description=it, required=True) for it in arguments],
        )
        for name, (description, arguments) in PROMPTS.items()
    ]
    return types.ListPromptsResult(prompts=prompts)


async def get_prompt(
    _ctx: Any, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            content: list[Any] = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            content = [text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
        case "test_prompt_with_embedded_resource":
            resource = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
            content = [resource, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            content = [image(), text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            context = filled(params, "user_context", "context")
            if not context:
                return needs(user_context=form("What context should the prompt use?", "context"))
            content = [text(f"Context: {context}")]
        case unknown:
            raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown prompt: {unknown}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=it) for it in content])


async def complete(_ctx: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


def build() -> Server[Any]:
    bus = InMemorySubscriptionBus()

    @contextlib.asynccontextmanager
    async def lifespan(_server: Any):
        yield bus

    server = Server(
        "everything",
        version="1.0.0",
        lifespan=lifespan,
        get_tool_input_schema=lambda name: TOOLS[name].schema if name in TOOLS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=accept,
        on_unsubscribe_resource=accept,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=accept,
        on_subscriptions_listen=ListenHandler(bus),
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience="everything"))
    return server


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    # The suite still asks for what 2026-07-28 deprecates.
    warnings.simplefilter("ignore")
    # A short retry, so that the polling scenarios do not wait for the default.
    app = build().streamable_http_app(event_store=Events(), retry_interval=100)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
