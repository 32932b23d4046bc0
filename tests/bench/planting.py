"""Many live grants in little time. In the embedded store by issuing them, in Redis as copies of a real one, under ids
and users of their own, written past the gateway.

`portcullis token issue` makes one; its record (`pc:{gNN}:grant:ID`, a version byte and JSON; see src/store/schema.rs) is taken as
the pattern, and each copy also gets its hint in the index by user. That the gateway takes them for its own is proven by
`portcullis grant list`, which the bench asks about one of them.
"""

import base64
import hashlib
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import expect

SHARDS = 32
BATCH = 5000


class Redis:
    """As much of its protocol (RESP2) as is needed."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: bytes | str | int) -> bytes | int | list | None:
        self._socket.sendall(command(*words))
        return self._answer()

    def send(self, commands: Iterable[bytes], count: int) -> None:
        """A pipeline of commands whose answers only have to be no errors."""
        self._socket.sendall(b"".join(commands))
        for _ in range(count):
            self._answer()

    def _answer(self) -> bytes | int | list | None:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        expect(kind in b"+-:$*" and kind, f"Redis answered {line!r}")
        expect(kind != b"-", f"Redis refused: {rest!r}")
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if int(rest) < 0:
            return None
        return self._file.read(int(rest) + 2)[:-2]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def command(*words: bytes | str | int) -> bytes:
    """A command as an array of bulk strings."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


@dataclass(frozen=True)
class Pattern:
    """A real grant's record, to be copied."""

    version: bytes
    record: dict
    life: int

    @classmethod
    def read(cls, raw: bytes, life: int) -> "Pattern":
        record = json.loads(raw[1:])
        expect({"exp", "value"} <= record.keys(), "a grant's record is not as src/store/schema.rs says")
        return cls(raw[:1], record, life)

    def copy(self, number: int, random: bytes) -> list[bytes]:
        """The commands that write one more: of user `github:NUMBER`, with the 16 bytes as its id."""
        name = unpadded(random)
        subject = user(number)
        value = self.record["value"]
        facts = value["facts"] | {"user": value["facts"]["user"] | {"subject": subject, "login": f"user{number}"}}
        record = self.record | {"value": value | {"id": name, "facts": facts}}
        raw = self.version + json.dumps(record, separators=(",", ":")).encode()
        return [
            command("SET", f"pc:{{g{random[15] % SHARDS:02}}}:grant:{name}", raw, "PX", self.life),
            command("ZADD", index_of(subject), record["value"]["created"] * 1000, name),
        ]


def user(number: int) -> str:
    """Nobody that anybody else here is."""
    return f"github:{1_000_000_000 + number}"


def index_of(subject: str) -> str:
    """Where a user's grants are hinted at."""
    return f"pc:grants-of-user:{unpadded(hashlib.sha256(subject.encode()).digest())}"


def unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def issue(admin: Path, number: int, named: Callable[[int], str] = user) -> None:
    """As many grants issued for real, each to another user, as `portcullis token issue` does it: over the admin socket, and as
    many side by side as that takes. For the embedded store, whose file belongs to the gateway."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for _ in pool.map(lambda at: _issue(admin, named(at)), range(number)):
            pass


# As many requests as the admin socket answers at once.
SIDE_BY_SIDE = 16


def _issue(admin: Path, subject: str) -> None:
    wanted = json.dumps({"user": subject, "service": "mcp", "scope": "", "ttl": 86400})
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(admin))
        connection.request("POST", "/v1/tokens/issue", wanted, {"content-type": "application/json"})
        answer = connection.getresponse()
        expect(answer.status == 200, f"a token for {subject} is not issued: {answer.status} {answer.read()[:300]!r}")
        answer.read()
    finally:
        connection.close()


def plant(port: int, number: int) -> None:
    """Copies the one grant that there is until there are `number`."""
    redis = Redis(port)
    try:
        names = redis.ask("KEYS", "pc:{g??}:grant:*")
        expect(len(names) == 1, f"{len(names)} grants are in Redis, not one")
        pattern = Pattern.read(redis.ask("GET", names[0]), redis.ask("PTTL", names[0]))
        for batch in batches(number - 1):
            randoms = os.urandom(16 * len(batch))
            copies = [pattern.copy(n, randoms[16 * at : 16 * at + 16]) for at, n in enumerate(batch)]
            redis.send((it for copy in copies for it in copy), 2 * len(batch))
    finally:
        redis.close()


def batches(number: int) -> Iterator[range]:
    """0 … number - 1, in pieces."""
    for start in range(0, number, BATCH):
        yield range(start, min(start + BATCH, number))
