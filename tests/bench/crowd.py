"""The readers under siege: thousands of event streams, some on connections of their own (HTTP/1.1), some fifty to one (HTTP/2). It
says `open` once each has had its first event, then waits for a line, and reports what became of each as a line of JSON."""

import asyncio
import contextlib
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import frames
import system

# Opened at the same time; streams on one HTTP/2 connection.
SIDE_BY_SIDE, EACH = 50, 50


class Stream:
    """What one stream has got."""

    def __init__(self, group: int, wire: str) -> None:
        self.group, self.wire = group, wire
        self.first = asyncio.get_running_loop().create_future()
        self.id, self.count, self.in_order, self.last = 0, 0, True, False
        self.ended: float | None = None
        self.how = ""
        self._held = b""

    def feed(self, data: bytes) -> None:
        """A piece of the event stream."""
        *events, self._held = (self._held + data).split(b"\n\n")
        for event in events:
            told = json.loads(event.partition(b"data: ")[2])
            self.in_order &= told["number"] == self.count + 1 and self.id in (0, told["stream"])
            self.id, self.count, self.last = told["stream"], told["number"], told["last"]
        if self.count and not self.first.done():
            self.first.set_result(None)

    def end(self, how: str) -> None:
        """The gateway has ended it."""
        if self.ended is None:
            self.ended, self.how = time.monotonic(), how
        if not self.first.done():
            self.first.set_exception(RuntimeError(f"a stream was not opened: {how}"))

    def report(self) -> dict[str, Any]:
        names = ["group", "wire", "id", "count", "in_order", "last", "ended", "how"]
        return {name: getattr(self, name) for name in names}


class Http1(asyncio.Protocol):
    """A connection for one stream."""

    def __init__(self, stream: Stream, head: bytes) -> None:
        self.stream, self.head, self.held, self.started = stream, head, b"", False

    def connection_made(self, transport: asyncio.Transport) -> None:
        transport.write(self.head)

    def data_received(self, data: bytes) -> None:
        self.held += data
        if not self.started:
            head, end, self.held = self.held.partition(b"\r\n\r\n")
            if not end:
                self.held = head
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.stream.end(head[:300].decode("latin-1"))
                return
            self.started = True
        while b"\r\n" in self.held:
            size, _, rest = self.held.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            self.stream.feed(rest[:length])
            self.held = rest[length + 2 :]
            if not length:
                self.stream.end("last chunk")

    def connection_lost(self, error: Exception | None) -> None:
        self.stream.end(f"closed: {error}" if error else "closed")


class Http2(asyncio.Protocol):
    """A connection for many streams."""

    def __init__(self, asked: list[tuple[Stream, bytes]]) -> None:
        self.streams = {2 * at + 1: stream for at, (stream, _) in enumerate(asked)}
        self.blocks = [block for _, block in asked]
        self.reader = frames.Reader()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        requests = [frames.request(number, block) for number, block in zip(self.streams, self.blocks, strict=True)]
        hello = frames.PREFACE + frames.settings(window=frames.MOST) + frames.window(0, frames.MOST - 65535)
        transport.write(hello + b"".join(requests))

    def data_received(self, data: bytes) -> None:
        for kind, flags, number, payload in self.reader.frames(data):
            stream = self.streams.get(number)
            if kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
                self.transport.write(frames.frame(kind, frames.ACK, 0, payload if kind == frames.PING else b""))
            elif kind == frames.HEADERS and payload[0] != 0x88:
                # 0x88 is `:status: 200` (RFC 7541, appendix A).
                stream.end("no 200")
            elif kind == frames.DATA:
                stream.feed(payload)
                if flags & frames.END_STREAM:
                    stream.end("END_STREAM")
            elif kind == frames.RST_STREAM:
                stream.end(frames.error(kind, payload))
            elif kind == frames.GOAWAY:
                self.connection_lost(RuntimeError(frames.error(kind, payload)))

    def connection_lost(self, error: Exception | None) -> None:
        for stream in self.streams.values():
            stream.end(f"closed: {error}")


class Crowd:
    """All streams."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.streams: list[Stream] = []
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    def _stream(self, group: int, wire: str) -> Stream:
        self.streams.append(Stream(group, wire))
        return self.streams[-1]

    def _fields(self, group: int) -> dict[str, str]:
        token = self.plan["tokens"][group]
        return {"authorization": f"Bearer {token}", "accept": "text/event-stream", "mcp-protocol-version": "2025-11-25"}

    def _head(self, group: int) -> bytes:
        fields = {"host": self.plan["authority"], **self._fields(group)}
        lines = [f"GET {self.plan['path']} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _block(self, group: int) -> bytes:
        pseudo = {":method": "GET", ":scheme": "https", ":authority": self.plan["authority"], ":path": self.plan["path"]}
        return frames.block({**pseudo, **self._fields(group)})

    async def open(self) -> None:
        """Half of them on HTTP/1.1, half on HTTP/2; every connection of the latter has streams of every group."""
        groups, half = len(self.plan["tokens"]), self.plan["streams"] // 2
        ones = [self._stream(at % groups, "h1") for at in range(half)]
        twos = [self._stream(at % groups, "h2") for at in range(half)]
        connections = [Http1(it, self._head(it.group)) for it in ones]
        connections += [
            Http2([(it, self._block(it.group)) for it in twos[at : at + EACH]]) for at in range(0, half, EACH)
        ]
        await asyncio.gather(*(self._connect(it) for it in connections))

    async def _connect(self, protocol: Http1 | Http2) -> None:
        name = self.plan["authority"].split(":")[0]
        context = self.tls("h2" if isinstance(protocol, Http2) else "http/1.1")
        loop = asyncio.get_running_loop()
        async with self._places:
            port = self.plan["port"]
            await loop.create_connection(lambda: protocol, "127.0.0.1", port, ssl=context, server_hostname=name)
            waited = [protocol.stream] if isinstance(protocol, Http1) else protocol.streams.values()
            await asyncio.wait_for(asyncio.gather(*(it.first for it in waited)), 60)

    def tls(self, protocol: str) -> ssl.SSLContext:
        """One for each version, whose sessions nobody resumes."""
        contexts = self.__dict__.setdefault("_contexts", {})
        if protocol not in contexts:
            contexts[protocol] = ssl.create_default_context(cafile=self.plan["ca"])
            contexts[protocol].set_alpn_protocols([protocol])
        return contexts[protocol]


async def main(plan: dict[str, Any]) -> None:
    crowd = Crowd(plan)
    await crowd.open()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps([stream.report() for stream in crowd.streams]), flush=True)
    # The connections end with the process, all at once.


if __name__ == "__main__":
    system.raise_limits(60_000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
