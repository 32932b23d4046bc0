"""The clients: h2load for requests, and two of our own for new connections and for streams that stay open."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import configs
import figures
from configs import HEADERS
from figures import Load, Request
from harness import Failed, expect
from rig import Subject, authority, host_of, path_of

# Connections, and requests in flight on each: 32 on HTTP/1.1, 64 on HTTP/2.
SHAPES = {"h1": (32, 1), "h2": (16, 4)}
# The smallest number of requests that says anything.
FEWEST = 500


def h2load(subject: Subject, protocol: str, number: int, folder: Path) -> tuple[Load, list[Request]]:
    """`number` requests, as fast as they are answered. Anything but 200 ends the run."""
    connections, streams = SHAPES[protocol]
    job = Job(subject, protocol, folder, "h2load")
    job.begin(["-c", connections, "-m", streams, "-n", max(number, connections), subject.url])
    return job.end(120)


def paced(subject: Subject, protocol: str, rate: float, seconds: float, folder: Path) -> list[Request]:
    """`rate` requests a second, at moments that have nothing to do with each other. h2load's own `--rps` would send them in
    heaps, one every 10 ms: each client here is a process with a schedule of its own, the same one for every subject."""
    streams = 16 if protocol == "h2" else 1
    jobs = [Job(subject, protocol, folder, f"paced-{number}") for number in range(PACED)]
    for number, job in enumerate(jobs):
        schedule = folder / f"paced-{number}.tsv"
        moments = figures.schedule(rate / PACED, seconds, seed=number)
        schedule.write_text("".join(f"{at * 1000:.3f}\t{subject.url}\n" for at in moments))
        job.begin(["-c", 1, "-m", streams, f"--timing-script-file={schedule}"])
    try:
        ended = [job.end(seconds + 60) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    return [it for _, answered in ended for it in answered]


# Clients of `paced`.
PACED = 8


class Job:
    """One h2load."""

    def __init__(self, subject: Subject, protocol: str, folder: Path, name: str) -> None:
        self.subject, self.protocol = subject, protocol
        self._body, self._log = folder / f"{name}.json", folder / f"{name}.log"
        self._child: subprocess.Popen[str] | None = None

    def begin(self, options: list[Any]) -> None:
        """Starts it."""
        self._body.write_text(configs.CALL)
        self._log.unlink(missing_ok=True)
        subject = self.subject
        port = subject.port2 if self.protocol == "h2" and subject.port2 else subject.port
        command = ["h2load", "-t", 1, "-d", self._body, f"--connect-to=127.0.0.1:{port}", f"--log-file={self._log}"]
        # So that no request waits for ever for its answer.
        command += ["-N", "30s", *(["--h1"] if self.protocol == "h1" else [])]
        for name, value in {**HEADERS, **subject.headers}.items():
            command += ["-H", f"{name}: {value}"]
        text = [str(it) for it in [*command, *options]]
        self._child = subprocess.Popen(text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self, seconds: float) -> tuple[Load, list[Request]]:
        """Waits for its end, and reads what it says and what it has written of every request."""
        subject = self.subject
        try:
            output, _ = self._child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Failed(f"{subject.name}: h2load was not done in {seconds:.0f} s\n{subject.log()}") from error
        told = figures.load(output)
        answered = figures.requests(self._log.read_text())
        others = sorted({it.status for it in answered if it.status != 200})
        report = f"{output[-1200:]}\n{subject.log()}"
        name = f"{subject.name} over {self.protocol}"
        expect(told.clean and not others, f"{name} did not answer 200 alone, but {others}:\n{report}")
        expect(len(answered) == told.total, f"{name}: {len(answered)} of {told.total} requests are in the log")
        spoken = [line.rpartition(" ")[2] for line in output.splitlines() if line.startswith("Application protocol:")]
        wanted = {"h1": ["http/1.1"], "h2": ["h2", "h2c"]}[self.protocol]
        expect(set(spoken) <= set(wanted), f"{name} speaks {spoken}")
        return told, answered

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()


def connect(subject: Subject, number: int, session: ssl.SSLSession | None) -> int:
    """`number` new TLS connections, one after the other, with one request on each; how many were resumed. With a `session` to
    begin with each resumes the one before it, without one none does."""
    resume, resumed = session is not None, 0
    for _ in range(number):
        given, reused = _visit(subject, session)
        resumed += reused
        # A ticket is used once (RFC 8446 §C.4); where no other is sent, the next connection has nothing to resume.
        session = given if resume else None
    return resumed


def first_session(subject: Subject) -> ssl.SSLSession | None:
    """A session to resume."""
    return _visit(subject, None)[0]


def _visit(subject: Subject, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
    raw = socket.create_connection(("127.0.0.1", subject.port), timeout=10)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with subject.tls.wrap_socket(raw, server_hostname=host_of(subject), session=session) as tls:
        _ask(subject, tls)
        return tls.session, tls.session_reused


def first_answer(subject: Subject, since: float, seconds: float = 30) -> tuple[float, float]:
    """Milliseconds from `since` to the end of the first TLS handshake, and to the end of the first answer. Not to the first
    accepted connection: the kernel accepts as soon as a port is bound, long before anybody serves it."""
    end = time.perf_counter() + seconds
    while True:
        expect(time.perf_counter() < end, f"{subject.name} did not accept within {seconds:g} s\n{subject.log()}")
        try:
            raw = socket.create_connection(("127.0.0.1", subject.port), timeout=seconds)
        except OSError:
            time.sleep(0.0005)
            continue
        with subject.tls.wrap_socket(raw, server_hostname=host_of(subject)) as tls:
            shaken = time.perf_counter() - since
            _ask(subject, tls)
            return shaken * 1000, (time.perf_counter() - since) * 1000


def _ask(subject: Subject, tls: ssl.SSLSocket) -> None:
    tls.sendall(_post(subject))
    answer = b""
    while not _is_whole(answer):
        more = tls.recv(16384)
        expect(more, f"{subject.name} closed before its answer was whole: {answer[:200]!r}")
        answer += more
    expect(answer.startswith(b"HTTP/1.1 200"), f"{subject.name} answered {answer[:200]!r}")


def _post(subject: Subject) -> bytes:
    return _head(subject, "POST", {**HEADERS, "content-length": str(len(configs.CALL))}) + configs.CALL.encode()


def _head(subject: Subject, method: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path_of(subject)} HTTP/1.1", f"host: {authority(subject)}"]
    lines += [f"{name}: {value}" for name, value in {**headers, **subject.headers}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
    return len(body) >= int(length)


class Streams:
    """Open event streams, one on each TLS connection."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def grow(self, number: int) -> None:
        """Opens more, 50 side by side, until there are `number`."""
        side_by_side = asyncio.Semaphore(50)

        async def one() -> None:
            async with side_by_side:
                self.open.append(await asyncio.wait_for(self._open(), 60))

        await asyncio.gather(*(one() for _ in range(number - len(self.open))))

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = host_of(self.subject)
        # The smallest buffers: what a client holds is not what is measured.
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.subject.port, ssl=self.subject.tls, server_hostname=name, limit=4096
        )
        headers = {"accept": "text/event-stream", "mcp-protocol-version": "2025-11-25"}
        writer.write(_head(self.subject, "GET", headers))
        head = await reader.readuntil(b"\r\n\r\n")
        expect(head.startswith(b"HTTP/1.1 200"), f"{self.subject.name} answered a stream with {head[:300]!r}")
        await reader.readuntil(b": open")
        return reader, writer

    def alive(self) -> int:
        """How many have not been ended by the other side."""
        return sum(not reader.at_eof() for reader, _ in self.open)

    async def close(self) -> None:
        """Ends all of them at once."""
        for _, writer in self.open:
            writer.transport.abort()
        self.open.clear()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def streams(subject: Subject) -> AsyncIterator[Streams]:
    """Streams that are closed at the end, however it comes."""
    opened = Streams(subject)
    try:
        yield opened
    finally:
        await opened.close()
