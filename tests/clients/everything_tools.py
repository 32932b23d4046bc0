"""The tools of everything_server.py: what the official conformance scenarios call, by the names they call it.

A tool is an entry of TOOLS: its description, its input schema as it goes over the wire, and a function of the request
context and the call's parameters. The function returns text, a content list, or a demand for more input.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged

# One red pixel, and a WAV header with no samples: the smallest that still are what they say.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="

Answer = str | list[Any] | types.InputRequiredResult
Run = Callable[[Any, types.CallToolRequestParams], Awaitable[Answer]]


@dataclass(frozen=True)
class Tool:
    description: str
    schema: dict[str, Any]
    run: Run


TOOLS: dict[str, Tool] = {}


def shape(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def tool(name: str, description: str, schema: dict[str, Any] | None = None) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        TOOLS[name] = Tool(description, schema or shape(), run)
        return run

    return add


def fixed(name: str, description: str, *content: Any) -> None:
    async def run(_ctx: Any, _params: types.CallToolRequestParams) -> Answer:
        return list(content)

    tool(name, description)(run)


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, value: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    return types.EmbeddedResource(type="resource", resource=contents)


fixed("test_simple_text", "One text", text("This is a simple text response for testing."))
fixed("test_image_content", "One image", image())
fixed("test_audio_content", "One sound", types.AudioContent(type="audio", data=WAV, mime_type="audio/wav"))
fixed(
    "test_embedded_resource",
    "One resource, in the answer itself",
    embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."),
)
fixed(
    "test_multiple_content_types",
    "A text, an image and a resource",
    text("Multiple content types test:"),
    image(),
    embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
)


@tool("test_error_handling", "Always fails")
async def fail(_ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    raise RuntimeError("This tool intentionally returns an error for testing")


@tool(
    "test_x_mcp_header",
    "Has an argument that travels as a header too",
    shape(region={"type": "string", "x-mcp-header": "Region"}),
)
async def mirrored(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    return f"region={(params.arguments or {}).get('region')}"


@tool(
    "json_schema_2020_12_tool",
    "Tool with JSON Schema 2020-12 features",
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **shape(
            name={"type": "string"},
            address={"$ref": "#/$defs/address"},
            contactMethod={"type": "string", "enum": ["phone", "email"]},
            phone={"type": "string"},
            email={"type": "string"},
        ),
        "$defs": {"address": {"$anchor": "addressDef", **shape(street={"type": "string"}, city={"type": "string"})}},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def schema_only(_ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    return "ok"


# What travels on the answer's own stream, before the answer.


async def log(ctx: Any, line: str) -> None:
    await ctx.session.send_log_message("info", line, related_request_id=ctx.request_id)


async def log_three_times(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, line)
        await asyncio.sleep(0.05)
    return "Three lines were logged."


tool("test_tool_with_logging", "Logs while it runs")(log_three_times)
tool("test_logging_tool", "Logs while it runs, but only to those who asked")(log_three_times)


@tool("test_tool_with_progress", "Reports progress while it runs")
async def progress(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return "Progress was reported."


@tool("test_reconnection", "Lets go of its stream half-way, so that the client has to come back for the answer")
async def reconnect(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    # Longer than the retry interval: an answer that is there before the client is back would prove nothing.
    await asyncio.sleep(0.3)
    return "The stream was closed and this came after."


@tool("test_trigger_tool_change", "Announces a change of the tools")
async def tools_changed(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    await ctx.lifespan_context.publish(ToolsListChanged())
    return "announced"


@tool("test_trigger_prompt_change", "Announces a change of the prompts")
async def prompts_changed(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    await ctx.lifespan_context.publish(PromptsListChanged())
    return "announced"


# What the server asks of the client while the call runs (2025-11-25).


@tool("test_sampling", "Asks the client's model", shape(("prompt",), prompt={"type": "string"}))
async def sample(ctx: Any, params: types.CallToolRequestParams) -> Answer:
    question = types.SamplingMessage(role="user", content=text(params.arguments["prompt"]))
    # Without the id the question would go to the GET stream, which may not be open.
    answer = await ctx.session.create_message([question], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {getattr(answer.content, 'text', '')}"


async def ask(ctx: Any, message: str, schema: dict[str, Any]) -> str:
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"


@tool("test_elicitation", "Asks the person", shape(("message",), message={"type": "string"}))
async def elicit(ctx: Any, params: types.CallToolRequestParams) -> Answer:
    schema = shape(
        ("username", "email"),
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    return "User response: " + await ask(ctx, params.arguments["message"], schema)


@tool("test_elicitation_sep1034_defaults", "Asks the person, with a default for every type")
async def elicit_defaults(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    schema = shape(
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    )
    return "Elicitation completed: " + await ask(ctx, "Is this right?", schema)


@tool("test_elicitation_sep1330_enums", "Asks the person, with every kind of choice")
async def elicit_choices(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
    schema = shape(
        untitledSingle={"type": "string", "enum": plain},
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": plain}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )
    return "Elicitation completed: " + await ask(ctx, "Choose", schema)


# What the server asks of the client instead of an answer (2026-07-28): it keeps nothing, the state goes along.


def form(message: str, field: str, kind: str = "string") -> types.ElicitRequest:
    schema = shape((field,), **{field: {"type": kind}})
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def question(prompt: str, max_tokens: int) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=text(prompt))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=max_tokens))


def needs(state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def filled(params: Any, key: str, field: str) -> Any:
    """What the person typed into `field`, or None when the answer is absent or not an accepted form."""
    answer = (params.input_responses or {}).get(key)
    accepted = isinstance(answer, types.ElicitResult) and answer.action == "accept"
    return (answer.content or {}).get(field) if accepted else None


@tool("test_input_required_result_elicitation", "Needs a name")
async def need_name(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    name = filled(params, "user_name", "name")
    return f"Hello, {name}!" if name else needs(user_name=form("What is your name?", "name"))


tool("test_streaming_elicitation", "Needs a name, and never asks for it on the stream")(need_name)


@tool("test_input_required_result_sampling", "Needs the client's model")
async def need_model(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    answer = (params.input_responses or {}).get("capital_question")
    if isinstance(answer, types.CreateMessageResult):
        return getattr(answer.content, "text", "no text")
    return needs(capital_question=question("What is the capital of France?", 100))


@tool("test_input_required_result_list_roots", "Needs the client's roots")
async def need_roots(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    answer = (params.input_responses or {}).get("client_roots")
    if isinstance(answer, types.ListRootsResult):
        return "Roots: " + ", ".join(str(root.uri) for root in answer.roots)
    return needs(client_roots=types.ListRootsRequest())


@tool("test_input_required_result_request_state", "Needs its own state back")
async def need_state(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    if params.request_state == "first round" and filled(params, "confirm", "ok") is not None:
        return "state-ok"
    return needs("first round", confirm=form("Please confirm", "ok", "boolean"))


@tool("test_input_required_result_tampered_state", "Needs its own state back, untouched")
async def need_untouched_state(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    # A state that was touched never gets here: the sealing middleware refuses it.
    if params.request_state:
        return "state-ok"
    return needs("sealed on its way out", confirm=form("Please confirm", "ok", "boolean"))


@tool("test_input_required_result_multiple_inputs", "Needs three things at once")
async def need_three(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    wanted = {
        "user_name": form("What is your name?", "name"),
        "greeting": question("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    here = wanted.keys() <= (params.input_responses or {}).keys()
    return "All three are here." if here else needs("three", **wanted)


@tool("test_input_required_result_multi_round", "Needs two things, one after the other")
async def need_twice(_ctx: Any, params: types.CallToolRequestParams) -> Answer:
    state = json.loads(params.request_state or "{}")
    name = state.get("name") or filled(params, "step1", "name")
    if not name:
        return needs("{}", step1=form("Step 1: What is your name?", "name"))
    colour = filled(params, "step2", "color")
    if not colour:
        return needs(json.dumps({"name": name}), step2=form("Step 2: What is your favorite color?", "color"))
    return f"{name} likes {colour}."


@tool("test_input_required_result_capabilities", "Needs only what this client can give")
async def need_what_it_can(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    can = ctx.session.client_capabilities
    wanted: dict[str, Any] = {}
    if can is not None and can.sampling is not None:
        wanted["greeting"] = question("Generate a greeting", 50)
    if can is not None and can.elicitation is not None:
        wanted["user_name"] = form("What is your name?", "name")
    return needs("capabilities", **wanted)


@tool("test_missing_capability", "Refuses clients without a model")
async def refuse_without_sampling(ctx: Any, _params: types.CallToolRequestParams) -> Answer:
    can = ctx.session.client_capabilities
    if can is None or can.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=types.MISSING_REQUIRED_CLIENT_CAPABILITY, message="sampling is needed", data=needed)
    return "The client has a model."
