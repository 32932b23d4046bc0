"""What both Python clients share: the trace they print, the browser they open, and the listener the answer comes to."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NoReturn


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--tool", default="echo")
    parser.add_argument("--arguments", type=json.loads, default={})
    parser.add_argument("--era", default="auto", help="auto, legacy or 2026-07-28")
    parser.add_argument("--steps", default="expire,revoke", help="what comes after the first call")
    return parser.parse_args()


def step(name: str, **facts: Any) -> None:
    print(json.dumps({"step": name, **facts}), flush=True)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def leave(code: int = 0) -> NoReturn:
    """Ends at once: after a refused call the SDKs wait for streams that will not come back."""
    sys.stdout.flush()
    os._exit(code)


class Listener:
    """The client's own loopback address, where the browser brings the code."""

    def __init__(self) -> None:
        self.query: dict[str, str] = {}
        self.arrived = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"You may close this window.")
                listener.arrived.set()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback"

    def wait(self) -> dict[str, str]:
        if not self.arrived.wait(30):
            raise TimeoutError("the browser never came back to the client")
        return self.query


class Person:
    """Opens $BROWSER for the first login. A second one is what a revoked client asks for, and is only noted."""

    def __init__(self) -> None:
        self.logins = 0

    async def open(self, url: str) -> None:
        self.logins += 1
        if self.logins > 1:
            step("asked to log in again")
            leave()
        step("login", authorize=url.split("?")[0], parameters=sorted(dict(urllib.parse.parse_qsl(url.split("?")[1]))))
        subprocess.Popen([*os.environ["BROWSER"].split(), url], stdout=sys.stderr)


class Storage:
    """The SDK's TokenStorage: what it is handed is the proof that a refresh happened."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.client: Any = None
        self.sets = 0

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens
        self.sets += 1

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client: Any) -> None:
        self.client = client

    def facts(self) -> dict[str, Any]:
        it = self.tokens
        return {
            "token_sets": self.sets,
            "access": digest(it.access_token),
            "refresh": digest(it.refresh_token or ""),
            "expires_in": it.expires_in,
            "scope": it.scope,
        }


def revoke(issuer: str, storage: Storage) -> int:
    body = {"token": storage.tokens.refresh_token, "token_type_hint": "refresh_token"}
    form = urllib.parse.urlencode({**body, "client_id": storage.client.client_id}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{issuer}/revoke", form), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until_expired(storage: Storage, since: float) -> None:
    """A token's life is time itself, so this can only wait; the second is for the whole seconds of `exp`."""
    time.sleep(max(0.0, since + storage.tokens.expires_in + 1 - time.monotonic()))
