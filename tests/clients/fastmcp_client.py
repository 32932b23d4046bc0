"""PyPI fastmcp 4.1.0 with its own OAuth client, all the way; prints one JSON object a step.

Unlike the SDKs it GETs /authorize itself before it opens the browser, and listens only after it has.
"""

import asyncio
import os
import time
import traceback
import urllib.parse
from typing import Any

import fastmcp.client.auth.oauth as oauth
from fastmcp import Client
from fastmcp.client.auth import OAuth

from py_trace import Storage, arguments, leave, revoke, step, until_expired

# It opens the browser by Python's webbrowser, which waits for commands that do not end in an ampersand.
os.environ["BROWSER"] += " %s &"

seen = Storage()


class Watched(oauth.TokenStorageAdapter):
    """Its own storage, with a look at what goes in."""

    async def set_tokens(self, tokens: Any) -> None:
        await seen.set_tokens(tokens)
        await super().set_tokens(tokens)

    async def set_client_info(self, client_info: Any) -> None:
        await seen.set_client_info(client_info)
        await super().set_client_info(client_info)


oauth.TokenStorageAdapter = Watched


class Provider(OAuth):
    logins = 0

    async def redirect_handler(self, authorization_url: str) -> None:
        self.logins += 1
        if self.logins > 1:
            step("asked to log in again")
            leave()
        query = urllib.parse.urlsplit(authorization_url).query
        names = sorted(dict(urllib.parse.parse_qsl(query)))
        step("login", authorize=authorization_url.split("?")[0], parameters=names)
        await super().redirect_handler(authorization_url)


async def main() -> None:
    given = arguments()
    provider = Provider(given.url)
    async with Client(given.url, auth=provider) as client:
        tools = await client.list_tools()
        logged_in = time.monotonic()
        step("connected", **seen.facts())
        step("listed", tools=sorted(it.name for it in tools))
        result = await client.call_tool(given.tool, given.arguments)
        step("called", content=[getattr(it, "text", it.type) for it in result.content], error=result.is_error)
        if "expire" in given.steps:
            await asyncio.to_thread(until_expired, seen, logged_in)
            result = await client.call_tool(given.tool, given.arguments)
            step("called after expiry", error=result.is_error, logins=provider.logins, **seen.facts())
        if "revoke" in given.steps:
            issuer = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(given.url))
            step("revoked", status=await asyncio.to_thread(revoke, issuer, seen))
            await client.call_tool(given.tool, given.arguments)
            step("called after revocation")
    leave()


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc()
    leave(1)
