"""Plain HTTP and plain MCP, for the tests that look at the wire itself."""

import base64
import hashlib
import http.client
import json
import secrets
import ssl
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browser import Browser, Request, destination
from harness import expect, same

MODERN = "2026-07-28"
ACCEPT = "application/json, text/event-stream"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str

    def json(self) -> Any:
        return json.loads(self.body)

    def message(self) -> Any:
        """The JSON-RPC answer, whether it came as JSON or as the last event of a stream."""
        if "event-stream" not in self.headers.get("Content-Type", ""):
            return self.json()
        data = [line[5:] for line in self.body.splitlines() if line.startswith("data:") and line[5:].strip()]
        return json.loads(data[-1])


def connect(url: str, ca: Path | None = None, timeout: float = 30) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


def path_of(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def fetch(
    method: str, url: str, body: Any = None, headers: dict[str, str] | None = None, ca: Path | None = None
) -> Answer:
    connection = connect(url, ca)
    try:
        connection.request(method, path_of(url), body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
    finally:
        connection.close()


def post_form(url: str, **fields: str) -> Answer:
    body = urllib.parse.urlencode(fields)
    return fetch("POST", url, body, {"Content-Type": "application/x-www-form-urlencoded"})


def bearer(token: str, session: str | None = None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}", "Accept": ACCEPT, "Content-Type": "application/json"}
    if session is None:
        return headers
    return {**headers, "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}


def rpc(method: str, params: dict[str, Any] | None = None, number: int | None = 1) -> str:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    return json.dumps(message if number is None else {**message, "id": number})


INITIALIZE = rpc(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "portcullis-tests", "version": "1"}},
)


def initialize(url: str, token: str) -> Answer:
    return fetch("POST", url, INITIALIZE, bearer(token))


def call_modern(url: str, token: str, tool: str) -> Answer:
    """tools/call as 2026-07-28 has it: no session, and the headers say what the body says."""
    client = {"name": "portcullis-tests", "version": "1"}
    prefix = "io.modelcontextprotocol"
    meta = {f"{prefix}/protocolVersion": MODERN, f"{prefix}/clientInfo": client, f"{prefix}/clientCapabilities": {}}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    body = rpc("tools/call", {"name": tool, "arguments": {}, "_meta": meta})
    return fetch("POST", url, body, {**bearer(token), **headers})


def open_session(url: str, token: str) -> str:
    """The whole legacy handshake; the session's id as the client sees it."""
    answer = initialize(url, token)
    same(answer.status, 200, "the status of initialize")
    session = answer.headers["Mcp-Session-Id"]
    expect(session, "initialize answered without Mcp-Session-Id")
    ready = fetch("POST", url, rpc("notifications/initialized", number=None), bearer(token, session))
    same(ready.status, 202, "the status of notifications/initialized")
    return session


@dataclass
class Login:
    """One login step by step, as a client and its user make it; nothing here knows the pages by name."""

    issuer: str
    resource: str
    name: str = "alice"
    redirect_uri: str = "http://127.0.0.1:9/callback"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    client_id: str = ""
    browser: Browser = field(default_factory=Browser)

    def register(self) -> None:
        metadata = {
            "client_name": "raw client",
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        headers = {"Content-Type": "application/json"}
        answer = fetch("POST", f"{self.issuer}/register", json.dumps(metadata), headers)
        same(answer.status, 201, "the status of the registration")
        self.client_id = answer.json()["client_id"]

    def authorize_url(self) -> str:
        challenge = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
            **self.target(),
        }
        return f"{self.issuer}/authorize?{urllib.parse.urlencode(query)}"

    def target(self) -> dict[str, str]:
        """RFC 8707's parameter; older clients leave it out."""
        return {"resource": self.resource} if self.resource else {}

    def walk(self, before_each: Callable[[], None] = lambda: None) -> str:
        """From /authorize to the code, request by request; `before_each` runs before every one of them."""
        answer = self.answer(before_each)
        expect("code" in answer, f"the redirect to the client carries no code: {answer}")
        return answer["code"]

    def answer(self, before_each: Callable[[], None] = lambda: None) -> dict[str, str]:
        """What the client is told in the end, be it a code or an error."""
        self.browser.name = self.name
        request: Request | None = Request("GET", self.authorize_url())
        while request is not None and not request.url.startswith(self.redirect_uri):
            before_each()
            page = self.browser.hop(request)
            request = self.browser.next(page)
        # A private-use scheme has no listener: the last page holds out a link instead.
        target = request.url if request else destination(page)
        expect(target.startswith(self.redirect_uri), f"the login ended at {target}: {self.browser.trail}")
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
        same(query.get("state"), self.state, "the state that the client gets back")
        same(query.get("iss"), self.issuer, "the iss that the client gets")
        return query

    def redeem(self, code: str) -> Answer:
        return post_form(
            f"{self.issuer}/token",
            grant_type="authorization_code",
            code=code,
            redirect_uri=self.redirect_uri,
            client_id=self.client_id,
            code_verifier=self.verifier,
            **self.target(),
        )

    def refresh(self, token: str) -> Answer:
        fields = {"grant_type": "refresh_token", "refresh_token": token, "client_id": self.client_id}
        return post_form(f"{self.issuer}/token", **fields, **self.target())

    def revoke(self, token: str) -> Answer:
        return post_form(f"{self.issuer}/revoke", token=token, client_id=self.client_id)


def tokens_of(answer: Answer, what: str = "the token request") -> dict[str, Any]:
    expect(answer.status == 200, f"{what} answered {answer.status}: {answer.body[:300]}")
    return answer.json()


def sign_in(issuer: str, resource: str, name: str = "alice") -> tuple[Login, dict[str, Any]]:
    login = Login(issuer, resource, name)
    login.register()
    return login, tokens_of(login.redeem(login.walk()))
