"""PyPI mcp 2.3.0 with its own OAuth provider, all the way; prints one JSON object a step."""

import asyncio
import time
import traceback
import urllib.parse

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from py_trace import Listener, Person, Storage, arguments, leave, revoke, step, until_expired


async def main() -> None:
    given = arguments()
    listener, person, storage = Listener(), Person(), Storage()

    async def callback() -> AuthorizationCodeResult:
        query = await asyncio.to_thread(listener.wait)
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    provider = OAuthClientProvider(
        given.url,
        OAuthClientMetadata(client_name="py2", redirect_uris=[listener.url]),
        storage,
        person.open,
        callback,
    )
    http = httpx2.AsyncClient(auth=provider, timeout=httpx2.Timeout(30, read=120))
    transport = streamable_http_client(given.url, http_client=http)
    async with http, Client(transport, mode=given.era) as client:
        # With a pinned era nothing goes over the wire, and so nobody logs in, before the first request.
        tools = await client.list_tools()
        logged_in = time.monotonic()
        step("connected", era=client.protocol_version, **storage.facts())
        step("listed", tools=sorted(it.name for it in tools.tools))
        result = await client.call_tool(given.tool, given.arguments)
        step("called", content=[getattr(it, "text", it.type) for it in result.content], error=result.is_error)
        if "expire" in given.steps:
            await asyncio.to_thread(until_expired, storage, logged_in)
            result = await client.call_tool(given.tool, given.arguments)
            step("called after expiry", error=result.is_error, logins=person.logins, **storage.facts())
        if "revoke" in given.steps:
            issuer = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(given.url))
            step("revoked", status=await asyncio.to_thread(revoke, issuer, storage))
            await client.call_tool(given.tool, given.arguments)
            step("called after revocation")
    leave()


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc()
    leave(1)
