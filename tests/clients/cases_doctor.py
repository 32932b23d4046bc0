"""The doctor, at servers that are not ours: a good one from PyPI, and two with one trouble each, written after real ones."""

import http.server
import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

from bench import Bench
from harness import CACHE, HERE, case, expect, free_port, same, until


def doctor(bench: Bench, url: str, *more: str) -> dict[str, Any]:
    """What the doctor finds at a URL, by its exit status and JSON; with --login it is helped through the browser's part."""
    command = [str(bench.shared.binary), "doctor", "--from-outside", url, "--json", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if "--login" in more:
        for line in process.stderr:
            if page := re.search(r"https?://\S+", line):
                # FastMCP's provider approves at once, and urllib follows to the doctor's own listener.
                same(urllib.request.urlopen(page[0], timeout=20).status, 200, "the status at the doctor's listener")
                break
    told, errors = process.communicate(timeout=60)
    expect(process.returncode in (0, 1), f"the doctor could not run: {errors}")
    report = json.loads(told)
    same(process.returncode, int(report["counts"]["bad"] > 0), "the exit status")
    return report


def of(report: dict[str, Any], verdict: str) -> dict[str, dict[str, Any]]:
    return {it["id"]: it for it in report["findings"] if it["verdict"] == verdict}


def bad(report: dict[str, Any]) -> list[str]:
    return [it["id"] for it in report["findings"] if it["verdict"] == "bad"]


def guarded(bench: Bench) -> str:
    """FastMCP with an authorization server of its own; the URL of the MCP server."""
    port = free_port()
    python = CACHE / "fastmcp" / "bin" / "python"
    bench.scope.start("fastmcp-oauth", python, HERE / "fastmcp_oauth_server.py", "--port", port)
    document = f"http://localhost:{port}/.well-known/oauth-authorization-server"
    until("FastMCP answers", lambda: urllib.request.urlopen(document, timeout=5).status == 200, 40)
    return f"http://localhost:{port}/mcp"


@case(timeout=120)
def a_fastmcp_server_with_its_own_sign_in_has_nothing_wrong(bench: Bench) -> None:
    url = guarded(bench)
    report = doctor(bench, url, "--register")
    same(bad(report), [], "what is bad")
    good = of(report, "good")
    for id in ["no-challenge", "prm-404", "prm-resource", "redirect-invalid", "login-hijacked"]:
        expect(id in good, f"{id} is not good: {report}")
    for client in ["vscode", "cursor"]:
        steps = doctor(bench, url, "--as", client)["steps"]
        expect(steps[-1]["ok"] and steps[-1]["request"].startswith("opens the browser"), f"{client}: {steps[-1]}")


@case(timeout=120)
def a_sign_in_at_a_fastmcp_server_goes_all_the_way(bench: Bench) -> None:
    report = doctor(bench, guarded(bench), "--login")
    same(bad(report), [], "what is bad")
    good = of(report, "good")
    same(good["token-401"]["found"], "1 tool", "what came of the call")
    expect("exchange-failed" in good and "refresh-failed" in good, f"not all was tried: {report}")


def serve(bench: Bench, answer: Callable[[str, str, str], tuple[int, dict[str, str], Any]]) -> str:
    """A server of Python's own; `answer` is asked with its origin, the method and the path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(origin, self.command, self.path.split("?")[0])
            payload = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)

        do_GET = do_HEAD = do_POST = do_DELETE = do_OPTIONS = reply

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    origin = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return origin


def metadata(issuer: str, origin: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{origin}/authorize",
        "token_endpoint": f"{origin}/token",
        "registration_endpoint": f"{origin}/register",
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }


@case(timeout=60)
def a_server_without_protected_resource_metadata_is_told_so(bench: Bench) -> None:
    def answer(origin: str, method: str, path: str) -> tuple[int, dict[str, str], Any]:
        if path == "/mcp":
            return 401, {"WWW-Authenticate": 'Bearer realm="mcp"'}, {"error": "unauthorized"}
        if path == "/.well-known/oauth-authorization-server":
            return 200, {}, metadata(origin, origin)
        return 404, {}, {"error": "not found"}

    # trouble: prm-404
    report = doctor(bench, serve(bench, answer) + "/mcp")
    same(bad(report), ["prm-404"], "what is bad")
    found = of(report, "bad")["prm-404"]
    expect("RFC 9728" in found["cause"] and "authorization_servers" in found["fix"][0], f"{found}")
    untried = of(report, "not_tried")["issuer-mismatch"]["found"]
    expect("at the MCP server itself" in untried, f"the old way is not named: {untried}")


@case(timeout=60)
def a_server_whose_issuer_is_another_is_told_so(bench: Bench) -> None:
    def answer(origin: str, method: str, path: str) -> tuple[int, dict[str, str], Any]:
        document = f"{origin}/.well-known/oauth-protected-resource/mcp"
        if path == "/mcp":
            return 401, {"WWW-Authenticate": f'Bearer resource_metadata="{document}"'}, {"error": "unauthorized"}
        if path == "/.well-known/oauth-protected-resource/mcp":
            return 200, {}, {"resource": f"{origin}/mcp", "authorization_servers": [origin]}
        if path == "/.well-known/oauth-authorization-server":
            return 200, {}, metadata(origin + "/", origin)
        return 404, {}, {"error": "not found"}

    # trouble: issuer-mismatch
    origin = serve(bench, answer)
    report = doctor(bench, origin + "/mcp")
    same(bad(report), ["issuer-mismatch"], "what is bad")
    found = of(report, "bad")["issuer-mismatch"]
    expect("a slash at the end" in found["cause"] and f'"issuer": "{origin}"' in found["fix"][0], f"{found}")
