"""A forwarder that adds one header and changes nothing else: the conformance suite has no way to carry a token.

Requests are framed only as far as it takes to find where the next one begins; answers are copied as they come.
"""

import asyncio
import threading

from harness import free_port

COPY = 65536


class Forwarder:
    """Listens on `port` of both loopback addresses; requests for `path` carry `token` once there is one."""

    def __init__(self, path: str) -> None:
        self.port = free_port()
        self.path = path
        self.to_port = 0
        self.token: str | None = None
        self._loop = asyncio.new_event_loop()

    def start(self, to_port: int) -> None:
        self.to_port = to_port
        ready = threading.Event()

        async def listen() -> None:
            for host in ("127.0.0.1", "::1"):
                await asyncio.start_server(self._serve, host, self.port)
            ready.set()

        def run() -> None:
            self._loop.create_task(listen())
            self._loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        ready.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            to_client.close()
            return
        ways = {
            asyncio.ensure_future(self._requests(client, to_gateway)),
            asyncio.ensure_future(self._copy(gateway, to_client)),
        }
        # Whichever side leaves first, the other must see it leave.
        _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in rest:
            way.cancel()
        for writer in (to_gateway, to_client):
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(COPY):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, rest = head.split(b"\r\n", 1)
                if self.token and line.split(b" ")[1].startswith(self.path.encode()):
                    line += b"\r\nAuthorization: Bearer " + self.token.encode()
                writer.write(line + b"\r\n" + rest)
                await self._body(rest.lower(), reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def _body(self, fields: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for field in fields.split(b"\r\n"):
            name, _, value = field.partition(b":")
            if name == b"content-length":
                writer.write(await reader.readexactly(int(value)))
            elif name == b"transfer-encoding" and b"chunked" in value:
                size = -1
                while size:
                    line = await reader.readline()
                    size = int(line.split(b";")[0], 16)
                    writer.write(line + await reader.readexactly(size + 2))
