"""What every test of this rung stands on: processes that end with their owner, ports, polling, the list of tests."""

import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("PORTCULLIS_TEST_CACHE") or HERE.parent / ".cache").resolve()
MODULES = CACHE / "npm" / "node_modules"
NODE = MODULES / "node" / "bin" / "node"


class Failed(Exception):
    """A sentence about what is not as it should be."""


def expect(condition: Any, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


def same(got: Any, wanted: Any, what: str) -> None:
    expect(got == wanted, f"{what} is {got!r}, not {wanted!r}")


def until(what: str, check: Callable[[], T], seconds: float = 15) -> T:
    """Polls until `check` answers with something true; a broken connection counts as not yet."""
    end, last = time.monotonic() + seconds, ""
    while True:
        try:
            if found := check():
                return found
        except (OSError, http.client.HTTPException) as error:
            last = f" ({error})"
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:g} s: {what}{last}")
        time.sleep(0.03)


_ports: set[int] = set()
_ports_lock = threading.Lock()


def free_port() -> int:
    """A port that is free on both loopback addresses and that no other test of this run has been given."""
    with _ports_lock:
        while True:
            with socket.socket(socket.AF_INET6) as six, socket.socket() as four:
                six.bind(("::1", 0))
                port = six.getsockname()[1]
                try:
                    four.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in _ports:
                _ports.add(port)
                return port


class Process:
    """A child whose output goes to a file; ended by its own pid and by nothing else."""

    def __init__(self, name: str, log: Path, *command: Any, env: dict[str, str] | None = None) -> None:
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [str(it) for it in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
                cwd=log.parent,
            )

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def text(self, since: int = 0) -> str:
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode("utf-8", "replace")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 10) -> int:
        """Ends it and returns its exit code; one that does not end in time is killed and that is its code."""
        if self.running:
            self.child.send_signal(how)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()


class Scope:
    """A folder and the processes of one owner: a test, or the whole run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.processes: list[Process] = []
        self.closed = False
        self._lock = threading.Lock()

    def start(self, name: str, *command: Any, env: dict[str, str] | None = None) -> Process:
        with self._lock:
            expect(not self.closed, f"{name} was to start after the end")
            process = Process(name, self.folder / f"{name}.log", *command, env=env)
            self.processes.append(process)
            return process

    def close(self) -> None:
        with self._lock:
            self.closed = True
        for process in reversed(self.processes):
            process.stop(seconds=3)


@dataclass
class Case:
    name: str
    run: Callable[..., None]
    timeout: float
    arguments: dict[str, Any] = field(default_factory=dict)


CASES: list[Case] = []


def case(timeout: float = 60, **axes: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a test; with axes, one for every combination of their values, named after them."""

    def add(run: Callable[..., None]) -> Callable[..., None]:
        for values in itertools.product(*axes.values()):
            label = f" [{', '.join(map(str, values))}]" if values else ""
            CASES.append(Case(run.__name__ + label, run, timeout, dict(zip(axes, values, strict=True))))
        return run

    return add


def selected(pattern: str | None) -> Iterator[Case]:
    """The tests whose name has the pattern in it, as plain text or as a regular expression."""
    for it in CASES:
        if not pattern or pattern in it.name or matches(pattern, it.name):
            yield it


def matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        # A part of a name with one bracket in it is text, not a pattern.
        return False
