"""The slow: connections from thousands of addresses that send a head a line at a time and never its end, or a head and the beginning
of a body. It says `held` once all are there, and when each has been closed (or the time is over) what became of them, as JSON."""

import asyncio
import contextlib
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import system

SIDE_BY_SIDE = 100
# Between two lines of a slow head.
DRIP = 3.0


class Slow:
    """One of them."""

    def __init__(self, plan: dict[str, Any], number: int, kind: str) -> None:
        self.plan, self.number, self.kind = plan, number, kind
        self.began = self.closed = 0.0
        self.answer = b""

    async def connect(self, tls: ssl.SSLContext) -> None:
        """From an address that few others have, as far as its first bytes."""
        source = f"127.{1 + self.number % 4}.{self.number // 250 % 250}.{1 + self.number % 250}"
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.plan["port"], ssl=tls, server_hostname=self.plan["host"], local_addr=(source, 0), limit=4096
        )
        self.began = time.monotonic()
        lines = [f"POST {self.plan['path']} HTTP/1.1", f"host: {self.plan['host']}:{self.plan['port']}"]
        if self.kind == "body":
            lines += [f"authorization: Bearer {self.plan['token']}", "content-type: application/json", "content-length: 1000", "", '{"']
        self.writer.write("\r\n".join(lines).encode())

    async def wait(self, seconds: float) -> None:
        """Until the other side closes it; a slow head sends a line more now and then."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            pause = min(left, DRIP) if self.kind == "head" else left
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    self.answer += await self._all()
                    break
            if self.kind == "head":
                self.writer.write(b"\r\nx-slow: 1")
        else:
            return
        self.closed = time.monotonic()
        self.writer.transport.abort()

    async def _all(self) -> bytes:
        heard = b""
        with contextlib.suppress(OSError):
            while more := await self.reader.read(4096):
                heard += more
        return heard

    def report(self) -> dict[str, Any]:
        took = self.closed - self.began if self.closed else None
        return {"kind": self.kind, "took": took, "status": self.answer[9:12].decode("latin-1")}


async def main(plan: dict[str, Any]) -> None:
    tls = ssl.create_default_context(cafile=plan["ca"])
    places = asyncio.Semaphore(SIDE_BY_SIDE)
    kinds = ["head", "body"] * plan["each"]
    slow = [Slow(plan, number, kind) for number, kind in enumerate(kinds)]
    waiting = []

    async def one(it: Slow) -> None:
        async with places:
            await it.connect(tls)
        waiting.append(asyncio.create_task(it.wait(plan["seconds"])))

    await asyncio.gather(*(one(it) for it in slow))
    print("held", flush=True)
    await asyncio.gather(*waiting)
    print(json.dumps([it.report() for it in slow]), flush=True)


if __name__ == "__main__":
    system.raise_limits(60_000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
