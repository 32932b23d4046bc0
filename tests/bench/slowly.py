"""The siege by the slow: thousands of heads and bodies that do not come, and what normal requests take meanwhile."""

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import figures
from attacker import Attacker
from harness import expect, free_port, until
from stage import Stage

# limits.head and limits.body_pause as they are by default, and what a busy machine adds.
PLURAL = {"head": "heads", "body": "bodies"}
LIMIT, LATER = 30.0, 5.0
MODES = {"slow headers": ["-H", "-i", "5"], "slow body": ["-B", "-i", "5"], "slow read": ["-X", "-w", "1", "-y", "256"], "ranges": ["-R"]}


def slow(stage: Stage, each: int, rounds: int, seconds: float, found: dict[str, Any]) -> None:
    """`each` slow heads and as many slow bodies at once, in rounds with normal requests before, during and after."""
    stage.sign_in("events")
    times: dict[str, list[list[float]]] = {"before": [], "during": [], "after": []}
    descriptors, rss = stage.descriptors(), stage.rss()
    told: list[dict[str, Any]] = []
    for at in range(rounds):
        stage.say(f"slow: round {at + 1} of {rounds}")
        times["before"].append(stage.asked(seconds))
        attacker = Attacker(stage, "stall.py", _plan(stage, each))
        try:
            attacker.line("held", 25)
            there = stage.descriptors()
            # A body's way to the upstream is a file more.
            expect(there >= 3 * each, f"only {there} files are open: the slow are not there")
            times["during"].append(stage.asked(seconds))
            told += attacker.report(LIMIT + 3 * LATER)
        finally:
            attacker.close()
        left = stage.settled(descriptors + 40, 15)
        expect(left <= descriptors + 40, f"{left} files are open after the slow have gone, {descriptors} were before")
        times["after"].append(stage.asked(seconds))
    found |= {"slow heads and bodies at once": f"{each:,} + {each:,}", "rounds": rounds}
    found |= _latencies(times)
    found |= _closed(told)
    found |= {"descriptors before, with them, after": f"{descriptors}, {there}, {left}"}
    found |= {"rss before, after, MB": f"{rss / 1024:.1f}, {stage.rss() / 1024:.1f}"}
    counted = stage.metric('portcullis_connections_refused_total{reason="slow-head"}')
    expect(counted == each * rounds, f"/metrics has counted {counted} slow heads of {each * rounds}")
    found["counted as slow-head by /metrics"] = counted


def _plan(stage: Stage, each: int) -> dict[str, Any]:
    host, port = stage.authority.split(":")
    shared = {"port": int(port), "host": host, "path": "/events", "ca": str(stage.rig.certificate)}
    return {**shared, "token": stage.signed[-1].access, "each": each, "seconds": LIMIT + 2 * LATER}


def _latencies(times: dict[str, list[list[float]]]) -> dict[str, Any]:
    """The median over the rounds; the ratio is the median of the rounds' ratios."""
    each = {when: [figures.percentile(it, 99) for it in rounds] for when, rounds in times.items()}
    found = {
        f"p50, p99 {when}, µs": f"{figures.median(figures.percentile(it, 50) for it in rounds):,.0f}, {figures.median(each[when]):,.0f}"
        for when, rounds in times.items()
    }
    found["normal requests, all answered 200"] = sum(len(it) for rounds in times.values() for it in rounds)
    found["p99 during over before (wanted: ≤ 2)"] = figures.median(figures.ratios(each["during"], each["before"]))
    return found


def _closed(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Each was closed when its limit says, a head without a word and a body with 408."""
    found = {}
    for kind, status in [("head", ""), ("body", "408")]:
        mine = [it for it in told if it["kind"] == kind]
        others = [it for it in mine if it["status"] != status]
        expect(not others, f"{len(others)} of {len(mine)} slow {PLURAL[kind]} were not answered with {status!r}: {others[:3]}")
        wrong = [it for it in mine if it["took"] is None or not LIMIT - 1 <= it["took"] <= LIMIT + LATER]
        expect(not wrong, f"{len(wrong)} of {len(mine)} slow {PLURAL[kind]} were not closed after {LIMIT:g} s: {wrong[:3]}")
        took = [it["took"] for it in mine]
        found[f"slow {PLURAL[kind]} closed after, s"] = f"{min(took):.1f} to {max(took):.1f} (limit: {LIMIT:g})"
    return found


def slowhttptest(stage: Stage, connections: int, seconds: int, found: dict[str, Any]) -> None:
    """Debian's slowhttptest, mode by mode; its own probe finds the service available all the time."""
    port = _door(stage)
    for mode, options in MODES.items():
        stage.say(f"slowhttptest: {mode}")
        found[mode] = _slowhttptest(stage, connections, seconds, mode, options, port)
        stage.asked(0.5)


def _door(stage: Stage) -> int:
    """The port of a HAProxy that passes bytes on as they come, by TLS: slowhttptest does not say which host it wants (SNI), and
    whoever does not is turned away before there is anything to be slow with."""
    port, folder = free_port(), stage.rig.new_folder("door")
    there = f"localhost:{stage.subject.port} ssl verify none sni str(localhost) alpn http/1.1"
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 9000
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
listen door
    bind localhost:{port} backlog 4096
    server gateway {there}
""")
    process = stage.rig.scope.start(f"door-{port}", "haproxy", "-db", "-f", config)
    until("HAProxy listens", lambda: socket.create_connection(("localhost", port), 1).close() or process.running)
    return port


def _slowhttptest(stage: Stage, connections: int, seconds: int, mode: str, options: list[str], port: int) -> str:
    prefix = stage.rig.folder / mode.replace(" ", "-")
    where = ["-u", f"http://localhost:{port}/", "-g", "-o", prefix]
    command = ["slowhttptest", *options, "-c", connections, "-r", connections // 4, "-l", seconds, "-p", 3, "-v", 1, *where]
    done = subprocess.run([str(it) for it in command], capture_output=True, text=True, timeout=seconds + 30, check=False)
    lines = [line.split(",") for line in Path(f"{prefix}.csv").read_text().splitlines()[1:]]
    report = done.stdout[-1500:] + done.stderr[-500:]
    expect(lines, f"slowhttptest has reported nothing: {report}")
    # Seconds, closed, pending, connected, service available (a number above 0 while it is).
    away = [line[0] for line in lines if int(line[-1]) <= 0]
    expect(not away, f"{mode}: the service was not available at second {', '.join(away)}: {report}")
    # A connection that is answered at once is closed when it is counted.
    most = max(int(line[1]) + int(line[3]) for line in lines)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    ended = next((line.partition(":")[2].strip() for line in plain.splitlines() if line.startswith("Exit status")), "")
    expect(most >= connections // 2, f"{mode}: only {most} connections were made, {ended}: {report}")
    return f"available in all {len(lines)} seconds; {most:,} made, {int(lines[-1][1]):,} closed by the gateway; {ended}"
