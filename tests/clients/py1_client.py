"""PyPI mcp 1.30.0 with its own OAuth provider, all the way; prints one JSON object a step."""

import asyncio
import time
import traceback
import urllib.parse

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.auth import OAuthClientMetadata

from py_trace import Listener, Person, Storage, arguments, leave, revoke, step, until_expired


async def main() -> None:
    given = arguments()
    listener, person, storage = Listener(), Person(), Storage()

    async def callback() -> tuple[str, str | None]:
        query = await asyncio.to_thread(listener.wait)
        return query["code"], query.get("state")

    metadata = OAuthClientMetadata(client_name="py1", redirect_uris=[listener.url])
    provider = OAuthClientProvider(given.url, metadata, storage, person.open, callback)
    transport = streamablehttp_client(given.url, auth=provider)
    async with transport as (read, write, _), ClientSession(read, write) as session:
        opened = await session.initialize()
        logged_in = time.monotonic()
        step("connected", era=opened.protocolVersion, **storage.facts())
        tools = await session.list_tools()
        step("listed", tools=sorted(it.name for it in tools.tools))
        result = await session.call_tool(given.tool, given.arguments)
        step("called", content=[getattr(it, "text", it.type) for it in result.content], error=result.isError)
        if "expire" in given.steps:
            await asyncio.to_thread(until_expired, storage, logged_in)
            result = await session.call_tool(given.tool, given.arguments)
            step("called after expiry", error=result.isError, logins=person.logins, **storage.facts())
        if "revoke" in given.steps:
            issuer = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(given.url))
            step("revoked", status=await asyncio.to_thread(revoke, issuer, storage))
            await session.call_tool(given.tool, given.arguments)
            step("called after revocation")
    leave()


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc()
    leave(1)
