"""A GitHub to sign in with: the web flow with PKCE, and who somebody is. Everybody is octocat, and approves at once."""

import base64
import hashlib
import json
import secrets
import ssl
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLIENT_ID, CLIENT_SECRET = "Iv1.0123456789abcdef", "0123456789abcdef" * 2 + "01234567"
codes: dict[str, dict[str, str]] = {}
tokens: set[str] = set()


class GitHub(BaseHTTPRequestHandler):
    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        at = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(at.query))
        if at.path == "/login/oauth/authorize" and asked.get("client_id") == CLIENT_ID:
            if asked.get("code_challenge_method") != "S256":
                return self.answer(400)
            code = secrets.token_hex(10)
            codes[code] = asked
            back = urllib.parse.urlencode({"code": code, "state": asked["state"]})
            return self.answer(302, Location=f"{asked['redirect_uri']}?{back}")
        if at.path == "/api/v3/user" and self.headers.get("Authorization", "").removeprefix("Bearer ") in tokens:
            return self.answer(200, {"login": "octocat", "id": 583231, "type": "User"})
        self.answer(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        if self.path != "/login/oauth/access_token":
            return self.answer(404)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return self.answer(200, {"error": "incorrect_client_credentials"})
        asked = codes.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked is None or base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != asked["code_challenge"]:
            return self.answer(200, {"error": "bad_verification_code"})
        token = f"gho_{secrets.token_hex(18)}"
        tokens.add(token)
        self.answer(200, {"access_token": token, "token_type": "bearer", "scope": asked.get("scope", "").replace(" ", ",")})


if __name__ == "__main__":
    port, certificate, key = sys.argv[1:]
    server = ThreadingHTTPServer(("0.0.0.0", int(port)), GitHub)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
