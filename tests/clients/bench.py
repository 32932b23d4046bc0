"""What a test is handed: its own folder and processes, and the servers and gateways that all tests share."""

import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gateway as gateways
from gateway import Gateway
from harness import CACHE, HERE, MODULES, NODE, Failed, Process, Scope, expect, free_port, until
from web import INITIALIZE, bearer, fetch

STORES = ["embedded", "redis"]
BROWSER = f"{sys.executable} {HERE / 'browser.py'}"


class Once:
    """Makes a thing at its first use; a failure is remembered too, so that it is not waited for again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._made: dict[str, Any] = {}

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                try:
                    self._made[key] = make()
                except Exception as error:
                    self._made[key] = Failed(f"{key} could not be set up: {error}")
            made = self._made[key]
        if isinstance(made, Failed):
            raise made
        return made


class Shared:
    """What lives as long as the run."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.folder, self.binary = folder, binary
        self.once = Once()
        self.scope = Scope(folder / "shared")
        self._scopes = [self.scope]
        self._databases = iter(range(1, 1024))

    def upstream(self, name: str) -> str:
        """The address of an MCP server that knows nothing of OAuth."""
        return self.once.get(f"the upstream {name}", lambda: self._start_upstream(name))

    def _start_upstream(self, name: str) -> str:
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        env = {}
        match name:
            case "echo":
                command = [self.binary, "echo-server", "--port", port]
            case "legacy":
                command = [NODE, MODULES / "@modelcontextprotocol/server-everything/dist/index.js", "streamableHttp"]
                env = {"PORT": str(port)}
            case "fastmcp":
                command = [CACHE / "fastmcp" / "bin" / "python", HERE / "fastmcp_server.py", "--port", port]
            case "everything":
                command = [CACHE / "mcp2" / "bin" / "python", HERE / "everything_server.py", "--port", port]
            case "recorder":
                command = [sys.executable, HERE / "recorder.py", "--port", port]
            case _:
                raise Failed(f"no upstream is called {name}")
        process = self.scope.start(name, *command, env=env)

        def ready() -> bool:
            expect(process.running, f"{name} ended at start:\n{process.text()[-2000:]}")
            return fetch("POST", url, INITIALIZE, bearer("none")).status == 200

        until(f"the upstream {name} answers initialize", ready, 30)
        return url

    def redis(self) -> int:
        return self.once.get("redis-server", self._start_redis)

    def _start_redis(self) -> int:
        expect(shutil.which("redis-server"), "redis-server is missing: apt-get install -y redis-server")
        port = free_port()
        options = {"bind": "127.0.0.1", "dir": self.scope.folder, "appendonly": "yes", "save": "", "databases": 1024}
        command = [it for name, value in options.items() for it in (f"--{name}", value)]
        process = self.scope.start("redis", "redis-server", "--port", port, *command)
        until("redis-server accepts connections", lambda: "Ready to accept connections" in process.text())
        return port

    def store(self, kind: str, folder: Path) -> str:
        """A store that nobody else uses."""
        if kind == "embedded":
            return f"file:{folder / 'portcullis.db'}"
        return f"redis://127.0.0.1:{self.redis()}/{next(self._databases)}"

    def gateway(self, store: str, access: str) -> Gateway:
        """The gateway that tests share which neither stop nor fill it: every server is a service of it."""
        return self.once.get(f"the gateway ({store}, {access})", lambda: self._start_gateway(store, access))

    def _start_gateway(self, store: str, access: str) -> Gateway:
        scope = Scope(self.scope.folder / f"gateway-{store}-{access}")
        self._scopes.append(scope)
        names = ["echo", "legacy", "fastmcp", "everything", "recorder"]
        upstreams = {name: self.upstream(name) for name in names}
        return gateways.serve(scope, self.binary, self.store(store, scope.folder), upstreams, access).start()

    def close(self) -> None:
        for scope in reversed(self._scopes):
            scope.close()


class Bench:
    """What one test is handed."""

    def __init__(self, shared: Shared, folder: Path) -> None:
        self.shared = shared
        self.scope = Scope(folder)
        self._watched: list[tuple[Process, int]] = []

    def watch(self, gateway: Gateway) -> Gateway:
        """Its log from here on belongs to this test's report, should it fail."""
        if gateway.process is not None:
            self._watched.append((gateway.process, gateway.process.log.stat().st_size))
        return gateway

    def shared_gateway(self, store: str = "embedded", access: str = "1h") -> Gateway:
        return self.watch(self.shared.gateway(store, access))

    def own_gateway(self, store: str, access: str = "1h", upstream: str = "echo") -> Gateway:
        upstreams = {upstream: self.shared.upstream(upstream)}
        where = self.shared.store(store, self.scope.folder)
        return gateways.serve(self.scope, self.shared.binary, where, upstreams, access).start()

    def client(
        self, name: str, url: str, *options: str, env: dict[str, str] | None = None, seconds: float = 80
    ) -> list[dict[str, Any]]:
        """Runs a client script to its end; the steps it printed."""
        match name:
            case "fastmcp":
                command = [CACHE / "fastmcp" / "bin" / "python", HERE / "fastmcp_client.py"]
            case "py1" | "py2":
                command = [CACHE / f"mcp{name[-1]}" / "bin" / "python", HERE / f"{name}_client.py"]
            case _:
                command = [NODE, HERE / f"{name}_client.mjs"]
        fixed = {"BROWSER": BROWSER, "CLIENT_MODULES": str(MODULES)}
        process = self.scope.start(name, *command, url, *options, env={**fixed, **(env or {})})
        until(f"{name} comes to its end", lambda: not process.running, seconds)
        expect(process.child.returncode == 0, f"{name} ended with {process.child.returncode}")
        lines = [line for line in process.text().splitlines() if line.startswith('{"step"')]
        return [json.loads(line) for line in lines]

    def report(self) -> str:
        """The tails of everything that may say why."""
        parts = []
        # A process that was started again has its earlier lives in the same file.
        own = {it.log: it for it in self.scope.processes}
        for process, since in [*((it, 0) for it in own.values()), *self._watched]:
            lines = process.text(since).splitlines()[-30:]
            parts.append(f"--- {process.name} ({process.log})\n" + "\n".join(f"    {it[:400]}" for it in lines))
        return "\n".join(parts)

    def close(self) -> None:
        self.scope.close()
