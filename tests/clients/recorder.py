"""An upstream that only watches: it says on stdout what reaches it, and when a client that waits goes away.

The tool `silent` is never answered at all, `stream` gets its headers and one event and then nothing more.
Usage: recorder.py --port PORT
"""

import argparse
import asyncio
import json

EVENT = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"started"}}\n\n'


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def note(what: str, **facts: object) -> None:
    print(json.dumps({"saw": what, **facts}), flush=True)


def answer(message: dict) -> bytes:
    result = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "recorder", "version": "1"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def body_of(reader: asyncio.StreamReader, head: str) -> bytes:
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    body = b""
    if fields.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    return body


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            message = json.loads(await body_of(reader, head) or b"{}")
            arguments = message.get("params", {}).get("arguments", {})
            mark, tool = arguments.get("mark"), message.get("params", {}).get("name")
            note("request", line=head.split("\r\n")[0], method=message.get("method"), mark=mark)
            if message.get("method") != "tools/call":
                writer.write(answer(message))
                continue
            if tool == "stream":
                writer.write(STREAM + b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            # Nothing more is to come on this connection, so whatever ends the read is the other side leaving.
            try:
                await reader.read()
            finally:
                note("gone", mark=mark)
            return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    server = await asyncio.start_server(serve, "127.0.0.1", arguments.parse_args().port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
