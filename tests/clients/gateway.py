"""Starts and stops the binary under test, in its two ways, and writes the configuration it is served with."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Process, Scope, expect, free_port, until
from web import fetch

# Any 64 hex digits: one store is only ever opened with one of them.
SECRET_KEY = "5e" * 32


@dataclass
class Gateway:
    """One gateway and its data; `start` after `kill` or `stop` goes on from the same data."""

    scope: Scope
    binary: Path
    issuer: str
    command: list[str]
    urls: dict[str, str]
    port: int
    ca: Path | None = None
    process: Process | None = None

    def start(self) -> "Gateway":
        process = self.process = self.scope.start("gateway", self.binary, *self.command)

        def ready() -> bool:
            expect(process.running, f"the gateway ended at start:\n{process.text()[-3000:]}")
            answer = fetch("GET", f"{self.issuer}/.well-known/oauth-authorization-server", ca=self.ca)
            return answer.status == 200

        until("the gateway is ready", ready, 20)
        return self

    def kill(self) -> None:
        """kill -9: no drain, no goodbye to the store."""
        self.process.stop(signal.SIGKILL)

    def stop(self) -> int:
        return self.process.stop()


def serve(
    scope: Scope,
    binary: Path,
    store: str,
    upstreams: dict[str, str],
    access: str = "1h",
    public_port: int | None = None,
    more: Callable[[str], dict[str, Any]] | None = None,
) -> Gateway:
    """`portcullis serve`: a service at `/NAME/mcp` for every upstream.

    `public_port` is for a forwarder in front: the port that people see, where the gateway listens on another one.
    `more` says what else is configured, or otherwise, by the issuer; its services are further ones.
    """
    port = free_port()
    issuer = f"http://localhost:{public_port or port}"
    urls = {name: f"{issuer}/{name}/mcp" for name in upstreams}
    # JSON is YAML, and quoting is then somebody else's business.
    config = {
        "issuer": issuer,
        "secret_key": SECRET_KEY,
        "store": store,
        "listen": {"http": f"localhost:{port}"},
        "tls": "off",
        "identity": {"dev": {}},
        "access": {"users": ["*"]},
        "tokens": {"access": access},
        "services": {name: {"url": urls[name], "upstream": upstream} for name, upstream in upstreams.items()},
    }
    others = more(issuer) if more else {}
    services = config["services"] | others.pop("services", {})
    config |= others | {"services": services}
    path = scope.folder / "portcullis.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    return Gateway(scope, binary, issuer, ["serve", str(path)], urls, port)


def demo(scope: Scope, binary: Path, https: bool = False) -> Gateway:
    """`portcullis demo`: no configuration at all, and its own echo server behind it."""
    port, data = free_port(), scope.folder / "demo"
    issuer = f"{'https' if https else 'http'}://localhost:{port}"
    command = ["demo", "--port", str(port), "--data", str(data)] + (["--https"] if https else [])
    return Gateway(scope, binary, issuer, command, {"echo": f"{issuer}/mcp"}, port, data / "ca.pem" if https else None)
