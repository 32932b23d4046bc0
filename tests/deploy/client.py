"""PyPI mcp with its own OAuth provider, as a desktop program has it: what it was given is kept in a file between its runs.

Calls tools of one service and prints what they answered as JSON. Signs in where it must, or, with --no-login, fails then.
"""

import argparse
import asyncio
import json
import os
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

import httpx2  # noqa: E402
from mcp import Client  # noqa: E402
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken  # noqa: E402
from py_trace import Listener, Person  # noqa: E402


class File:
    """The SDK's TokenStorage, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def _keep(self, name: str, value: Any) -> None:
        self.kept[name] = value.model_dump(mode="json", exclude_none=True)
        self.path.write_text(json.dumps(self.kept))

    async def get_tokens(self) -> OAuthToken | None:
        return OAuthToken(**self.kept["tokens"]) if "tokens" in self.kept else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._keep("tokens", tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return OAuthClientInformationFull(**self.kept["client"]) if "client" in self.kept else None

    async def set_client_info(self, client: OAuthClientInformationFull) -> None:
        self._keep("client", client)


def refresh(url: str, storage: File) -> None:
    """What the SDK does when its token has expired, without waiting an hour for that."""
    issuer = storage.kept["client"].get("issuer") or json.load(urllib.request.urlopen(prm(url)))["authorization_servers"][0]
    form = {
        "grant_type": "refresh_token",
        "refresh_token": storage.kept["tokens"]["refresh_token"],
        "client_id": storage.kept["client"]["client_id"],
        "client_secret": storage.kept["client"].get("client_secret"),
        "resource": url,
    }
    body = urllib.parse.urlencode({name: value for name, value in form.items() if value}).encode()
    with urllib.request.urlopen(f"{issuer}/token", body, timeout=30) as answer:
        storage.kept["tokens"] = json.load(answer)
    storage.path.write_text(json.dumps(storage.kept))


def prm(url: str) -> str:
    at = urllib.parse.urlsplit(url)
    return f"{at.scheme}://{at.netloc}/.well-known/oauth-protected-resource{at.path}"


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("calls", help='{"TOOL": {ARGUMENTS}, ...}', type=json.loads)
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--no-login", action="store_true")
    parser.add_argument("--refresh", action="store_true")
    given = parser.parse_args()
    storage, listener, person = File(given.storage), Listener(), Person()

    async def sign_in(url: str) -> None:
        if given.no_login:
            print("the client is asked to sign in again", file=sys.stderr, flush=True)
            os._exit(3)
        await person.open(url)

    async def callback() -> AuthorizationCodeResult:
        query = await asyncio.to_thread(listener.wait)
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    if given.refresh:
        refresh(given.url, storage)
    metadata = OAuthClientMetadata(client_name="desktop", redirect_uris=[listener.url])
    provider = OAuthClientProvider(given.url, metadata, storage, sign_in, callback)
    http = httpx2.AsyncClient(auth=provider, timeout=httpx2.Timeout(30, read=60))
    async with http, Client(streamable_http_client(given.url, http_client=http)) as client:
        for tool, arguments in given.calls.items():
            result = await client.call_tool(tool, arguments)
            texts = [getattr(it, "text", it.type) for it in result.content]
            print(json.dumps({"tool": tool, "error": result.is_error, "texts": texts}), flush=True)
    os._exit(0)


asyncio.run(main())
