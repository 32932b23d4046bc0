"""The siege by hostile HTTP/2: what each attack costs the gateway beside normal requests, and what it costs the others."""

import time
from typing import Any

import configs
import figures
import load
import system
from attacker import Attacker
from harness import expect
from stage import Stage

# With which word (RFC 9113 §7) the gateway ends a connection that does so; none where it is within the protocol.
SHOWN_OUT = {
    "rapid_reset": "ENHANCE_YOUR_CALM",
    "late_reset": "",
    "continuation": "ENHANCE_YOUR_CALM",
    "settings": "",
    "ping": "",
    "empty_data": "ENHANCE_YOUR_CALM",
    "window_overflow": "FLOW_CONTROL_ERROR",
    "window_zero": "PROTOCOL_ERROR",
    "window_flood": "",
}
# What the gateway may have more in memory after an attack than before it, kB: buffers and what malloc keeps.
MORE = 40 * 1024


def resets(stage: Stage, operations: int, seconds: float, found: dict[str, Any]) -> None:
    """Each attack alone, for its cost; then each while others ask."""
    normal = _normal(stage, operations)
    found["a normal request, µs of CPU"] = normal
    for kind, word in SHOWN_OUT.items():
        stage.say(f"resets: {kind}")
        found[kind.replace("_", " ")] = _attack(stage, kind, word, (operations, seconds), normal)
    stage.say("resets: unread")
    found["answers that nobody reads"] = _unread(stage, operations // 5)


def _normal(stage: Stage, operations: int) -> float:
    before = stage.subject.cpu_ticks()
    told, _ = load.h2load(stage.subject, "h2", operations, stage.rig.folder)
    return figures.microseconds_each(stage.subject.cpu_ticks() - before, system.HERTZ, told.ok)


def _plan(stage: Stage, kind: str, operations: int, seconds: float) -> dict[str, Any]:
    host, port = stage.authority.split(":")
    where = {"port": int(port), "host": host, "ca": str(stage.rig.certificate)}
    headers = {**configs.HEADERS, **stage.subject.headers}
    return {**where, "headers": headers, "kind": kind, "operations": operations, "seconds": seconds}


def _attack(stage: Stage, kind: str, word: str, much: tuple[int, float], normal: float) -> str:
    (operations, seconds), rss = much, stage.rss()
    descriptors = stage.descriptors()
    before = stage.subject.cpu_ticks()
    alone = _run(stage, kind, operations, 4 * seconds)
    cost = figures.microseconds_each(stage.subject.cpu_ticks() - before, system.HERTZ, alone["operations"])
    # The last word is lost where more was under way than the gateway still read: the kernel then resets the connection.
    words = set(alone["goaway"]) - ({""} if word else set())
    expect(words == {word}, f"{kind} was shown out with {alone['goaway']}, not with {word!r}")
    quiet = figures.percentile(stage.asked(seconds, "h2"), 99)
    attacker = Attacker(stage, "hostile.py", _plan(stage, kind, 10**9, seconds + 1.5))
    try:
        busy = figures.percentile(stage.asked(seconds, "h2"), 99)
        attacker.report(20)
    finally:
        attacker.close()
    left = stage.settled(descriptors + 20, 10)
    expect(left <= descriptors + 20, f"{left} files are open after {kind}, {descriptors} were before")
    more = stage.rss() - rss
    expect(more <= MORE, f"{kind} has left {more} kB behind")
    each = alone["operations"] / alone["connections"]
    return (
        f"{cost:.1f} µs each ({cost / normal:.2f} of a normal request); GOAWAY {word or 'none'}, after {each:,.0f} on a connection; "
        f"others' p99 {busy:,.0f} µs, {busy / quiet:.1f} × before; RSS {more / 1024:+.1f} MB"
    )


def _run(stage: Stage, kind: str, operations: int, seconds: float) -> dict[str, Any]:
    attacker = Attacker(stage, "hostile.py", _plan(stage, kind, operations, seconds))
    try:
        return attacker.report(seconds + 20)
    finally:
        attacker.close()


def _unread(stage: Stage, number: int) -> str:
    rss, descriptors = stage.rss(), stage.descriptors()
    attacker = Attacker(stage, "hostile.py", _plan(stage, "unread", number, 0))
    try:
        attacker.line("held", 30)
        time.sleep(1)
        more = stage.rss() - rss
        expect(more <= MORE, f"{number} unread answers are {more} kB")
        stage.asked(1)
        attacker.report(10, "end\n")
    finally:
        attacker.close()
    left = stage.settled(descriptors + 20, 10)
    expect(left <= descriptors + 20, f"{left} files are open after unread answers, {descriptors} were before")
    return f"{number:,} held: {figures.kilobytes_each(0, more, number):.1f} KB each; none left open"
