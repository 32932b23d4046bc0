"""What is measured, one function each. Rounds are interleaved, and begin with another subject each time."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import figures
import load
import planting
import system
from figures import rotated
from harness import expect
from report import Record
from rig import Rig, Subject, run

PROXIES = ["portcullis", "nginx", "haproxy", "caddy"]
# What a process still does once its clients have gone belongs to the requests before.
AFTERMATH = 0.1


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int
    seconds: float
    connections: int
    streams: tuple[int, int]
    starts: int
    services: int
    grants: int
    issued: int


@dataclass
class Run:
    """One run of the bench: who takes part, how much, and what was found."""

    rig: Rig
    sizes: Sizes
    record: Record
    say: Callable[[str], None]
    _stage: list[Subject] = field(default_factory=list)
    _rates: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def stage(self) -> list[Subject]:
        """One of each proxy, running; Portcullis first, for HAProxy is handed its token and key."""
        if not self._stage:
            self._stage = [self.rig.start(name) for name in PROXIES]
        return self._stage

    def rounds(self, subjects: list[Subject], label: str, number: int | None = None) -> Iterator[list[Subject]]:
        """The order of each round, told as it goes."""
        for at in range(number or self.sizes.rounds):
            self.say(f"{label}: round {at + 1} of {number or self.sizes.rounds}")
            yield rotated(subjects, at)

    def rate(self, subject: Subject, protocol: str) -> float:
        """How many requests a second it answers at most; found out once, which also warms it up."""
        key = (subject.name, protocol)
        if key not in self._rates:
            told, _ = load.h2load(subject, protocol, load.FEWEST, self.rig.folder)
            told, _ = load.h2load(subject, protocol, self._number(told.rate, 0.5), self.rig.folder)
            self._rates[key] = told.rate
        return self._rates[key]

    def _number(self, rate: float, share: float = 1.0) -> int:
        return max(load.FEWEST, round(rate * self.sizes.seconds * share))

    def spent(self, subject: Subject, protocol: str) -> float:
        """CPU of one request, in µs."""
        number = self._number(self.rate(subject, protocol))
        subject.probe()
        before = subject.cpu_ticks()
        told, _ = load.h2load(subject, protocol, number, self.rig.folder)
        time.sleep(AFTERMATH)
        return figures.microseconds_each(subject.cpu_ticks() - before, system.HERTZ, told.ok)


def requests(run: Run) -> None:
    """CPU of an authenticated request, at full load."""
    for protocol in load.SHAPES:
        for order in run.rounds(run.stage, f"requests over {protocol}"):
            for subject in order:
                run.record.add(f"cpu.{protocol}", "µs", subject.name, run.spent(subject, protocol))


def connections(run: Run) -> None:
    """CPU of a new TLS connection with one request on it."""
    for kind in ["full", "resumed"]:
        for order in run.rounds(run.stage, f"new connections, {kind}"):
            for subject in order:
                session = load.first_session(subject) if kind == "resumed" else None
                before = subject.cpu_ticks()
                resumed = load.connect(subject, run.sizes.connections, session)
                time.sleep(AFTERMATH)
                spent = subject.cpu_ticks() - before
                expected = 0 if kind == "full" else run.sizes.connections
                expect(resumed == expected, f"{subject.name} resumed {resumed} of {run.sizes.connections} connections")
                each = figures.microseconds_each(spent, system.HERTZ, run.sizes.connections)
                run.record.add(f"connection.{kind}", "µs", subject.name, each)


def streams(run: Run) -> None:
    """Memory of an open, silent event stream. A process of its own each time: what it has freed it may not give back."""
    expect(run.stage, "the stage is empty")
    for at in range(min(run.sizes.rounds, 3)):
        run.say(f"streams: round {at + 1} of {min(run.sizes.rounds, 3)}")
        for name in rotated(PROXIES, at):
            subject = run.rig.start(name)
            asyncio.run(_hold(run, subject))
            subject.stop()


async def _hold(run: Run, subject: Subject) -> None:
    await asyncio.sleep(SETTLE)
    before = subject.memory()
    async with load.streams(subject) as opened:
        for number in run.sizes.streams:
            await opened.grow(number)
            await asyncio.sleep(SETTLE)
            expect(opened.alive() == number, f"{subject.name} holds {opened.alive()} of {number} streams\n{subject.log()}")
            now = subject.memory()
            for kind in ["rss", "pss"]:
                each = figures.kilobytes_each(getattr(before, kind), getattr(now, kind), number)
                run.record.add(f"stream.{kind}.{number}", "KB", subject.name, each)
    # Until its sockets are closed, and whoever gives memory back by and by has had time to.
    await asyncio.sleep(AFTERWARDS)
    run.record.add("stream.left", "KB", subject.name, subject.memory().rss - before.rss)


SETTLE = 1.0
# Portcullis looks every ten seconds.
AFTERWARDS = 12.0


def idle(run: Run) -> None:
    """Memory of a process that has answered one request and has nothing to do; Portcullis with 20 services."""
    expect(run.stage, "the stage is empty")
    for at in range(min(run.sizes.rounds, 3)):
        run.say(f"idle: round {at + 1} of {min(run.sizes.rounds, 3)}")
        for name in rotated(PROXIES, at):
            subject = run.rig.start(name, **({"count": 20} if name == "portcullis" else {}))
            time.sleep(SETTLE)
            memory = subject.memory()
            run.record.add("idle.rss", "MB", name, memory.rss / 1024)
            run.record.add("idle.pss", "MB", name, memory.pss / 1024)
            subject.stop()


def start(run: Run) -> None:
    """From the start of a process, after a clean stop, to its first TLS handshake and its first answer."""
    expect(run.stage, "the stage is empty")
    subjects = [run.rig.start(name) for name in PROXIES]
    for subject in subjects:
        subject.stop()
    for order in run.rounds(subjects, "start", run.sizes.starts):
        for subject in order:
            since = time.perf_counter()
            run.rig.launch(subject)
            shaken, answered = load.first_answer(subject, since)
            run.record.add("start.handshake", "ms", subject.name, shaken)
            run.record.add("start.answer", "ms", subject.name, answered)
            subject.stop()
            ended = subject.process.child.returncode
            # HAProxy ends by the signal itself.
            expect(ended in (0, -signal.SIGTERM), f"{subject.name} ended with {ended}, not cleanly\n{subject.log()}")


def latency(run: Run) -> None:
    """What a subject adds at half of its own most, over the upstream asked directly at the same rate in the same minute."""
    for protocol in load.SHAPES:
        for order in run.rounds(run.stage, f"latency over {protocol}"):
            for subject in order:
                rate = run.rate(subject, protocol) / 2
                both = [load.paced(it, protocol, rate, run.sizes.seconds, run.rig.folder) for it in (subject, run.rig.direct)]
                through, beside = map(figures.settled, both)
                run.record.add(f"latency.{protocol}.rate", "/s", subject.name, figures.rate(both[0]))
                for share in [50, 99]:
                    there, here = figures.percentile(through, share), figures.percentile(beside, share)
                    run.record.add(f"latency.{protocol}.p{share}", "µs", subject.name, there - here)
                    run.record.add(f"latency.{protocol}.p{share}.direct", "µs", subject.name, here)


def scale(run: Run) -> None:
    """Portcullis alone: a request's CPU with few and many services, few and many grants, and with its access log."""
    many = run.sizes.services
    subjects = [
        run.rig.start("portcullis", label="services.1"),
        run.rig.start("portcullis", label="services.many.hosts", count=many),
        run.rig.start("portcullis", label="services.many.paths", count=many, apart=False),
        run.rig.start("portcullis", label="access-log", log="info"),
        _with_issued(run),
        _with_grants(run, "grants.few", 10),
        _with_grants(run, "grants.many", run.sizes.grants),
    ]
    try:
        for order in run.rounds(subjects, "scale", 2 * run.sizes.rounds):
            for subject in order:
                run.record.add("scale", "µs", subject.name, run.spent(subject, "h1"))
        for subject in subjects:
            run.record.add("scale.rss", "MB", subject.name, subject.memory().rss / 1024)
    finally:
        for subject in subjects:
            subject.stop()


def _with_issued(run: Run) -> Subject:
    """Over an embedded store with as many live grants as can be issued in a minute or so."""
    subject = run.rig.start("portcullis", label="grants.issued")
    run.say(f"grants.issued: issuing {run.sizes.issued} tokens")
    planting.issue(subject.folder / "admin.sock", run.sizes.issued)
    return subject


def _with_grants(run: Run, label: str, number: int) -> Subject:
    """Over a Redis with so many live grants; one of them is asked for, as an operator would."""
    port, _ = run.rig.redis()
    subject = run.rig.start("portcullis", label=label, store=f"redis://127.0.0.1:{port}/0")
    run.say(f"{label}: planting {number} grants")
    planting.plant(port, number)
    last = planting.user(number - 2)
    listed = _grants_of(run.rig, subject, last)
    expect(last in listed, f"the planted grant of {last} is not listed: {listed[:500]}")
    return subject


def _grants_of(rig: Rig, subject: Subject, user: str) -> str:
    config = subject.folder / "portcullis.yaml"
    return json.dumps(json.loads(run([rig.binary, "grant", "list", "--user", user, "--json", "--config", config])))


# In this order; the name is what `--only` takes.
MEASURES: dict[str, Callable[[Run], None]] = {
    "requests": requests,
    "connections": connections,
    "streams": streams,
    "idle": idle,
    "start": start,
    "latency": latency,
    "scale": scale,
}
