"""The upstream under siege. A GET gets a stream of numbered events; a POST is read and never answered. Whoever connects to the
second port ends it: every stream that is open gets one last event, and what each was sent is told as JSON."""

import asyncio
import contextlib
import json
import sys

import system
from hold import HEAD

# So that 5,000 streams do not all get theirs at the same moment.
SLICES = 20


class Streams:
    """All that are open, and the numbers that they were sent."""

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.opened = 0

    async def tick(self, pause: float) -> None:
        """An event for everybody each `pause` seconds, for ever."""
        while True:
            for part in range(SLICES):
                for stream in [it for at, it in self.open.items() if at % SLICES == part]:
                    stream.send()
                await asyncio.sleep(pause / SLICES)

    async def end(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The last event for everybody, and the report."""
        for stream in list(self.open.values()):
            stream.send(last=True)
        writer.write(json.dumps({number: stream.sent for number, stream in self.open.items()}).encode())
        writer.close()
        self.open.clear()


class Stream(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, streams: Streams) -> None:
        self.streams, self.number, self.sent, self.head = streams, 0, 0, b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.number or self.head.startswith(b"POST"):
            return
        self.head = (self.head + data)[:65536]
        if self.head.startswith(b"GET") and b"\r\n\r\n" in self.head:
            self.streams.opened += 1
            self.number = self.streams.opened
            self.streams.open[self.number] = self
            self.transport.write(HEAD)
            self.send()

    def send(self, last: bool = False) -> None:
        """The next event, in a chunk of its own."""
        self.sent += 1
        data = json.dumps({"stream": self.number, "number": self.sent, "last": last})
        event = f"id: {self.sent}\ndata: {data}\n\n"
        self.transport.write(f"{len(event):x}\r\n{event}\r\n".encode())

    def connection_lost(self, _: Exception | None) -> None:
        self.streams.open.pop(self.number, None)


async def main(port: int, control: int, pause: float) -> None:
    streams = Streams()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stream(streams), "127.0.0.1", port, backlog=4096)
    await asyncio.start_server(streams.end, "127.0.0.1", control)
    ticking = asyncio.create_task(streams.tick(pause))
    await server.serve_forever()
    ticking.cancel()


if __name__ == "__main__":
    system.raise_limits(60_000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
