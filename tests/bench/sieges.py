"""The four sieges, and the page that tells what was found."""

import datetime
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import held
import hostilely
import report
import slowly
import system
from stage import Stage

HERE = Path(__file__).resolve().parent


def slow(stage: Stage, quick: bool, found: dict[str, Any]) -> None:
    """2,000 slow heads and 2,000 slow bodies at once, by TLS, from many addresses, while normal requests go on."""
    each, rounds, seconds = (100, 1, 2.0) if quick else (2000, 3, 8.0)
    slowly.slow(stage, each, rounds, seconds, found)


def slowhttptest(stage: Stage, quick: bool, found: dict[str, Any]) -> None:
    """Debian's slowhttptest by TLS, 1,000 connections for 30 seconds in each mode; available is what its own probe says."""
    connections, seconds = (100, 5) if quick else (1000, 30)
    slowly.slowhttptest(stage, connections, seconds, found)


def resets(stage: Stage, quick: bool, found: dict[str, Any]) -> None:
    """HTTP/2 by the frame: streams that are reset, heads without an end, floods of frames, answers that nobody reads."""
    operations, seconds = (1000, 1.0) if quick else (10_000, 3.0)
    hostilely.resets(stage, operations, seconds, found)


def streams(stage: Stage, quick: bool, found: dict[str, Any]) -> None:
    """5,000 event streams for two minutes, tokens refreshed and revoked under them."""
    plan = held.Plan(400, 8, 2, 8.0, (2, 4)) if quick else held.Plan(5000, 20, 5, 120.0)
    found |= held.streams(stage, plan)


# In this order; the name is what `--only` takes.
SIEGES: dict[str, Callable[[Stage, bool, dict[str, Any]], None]] = {
    "slow": slow,
    "slowhttptest": slowhttptest,
    "resets": resets,
    "streams": streams,
}


def about(binary: Path, seconds: float) -> dict[str, Any]:
    """When, where, and of what."""
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    versions = system.versions(binary)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "machine": system.machine(),
        "portcullis": versions["portcullis"],
        # Which need not be of that commit.
        "binary": f"{binary}, built {datetime.datetime.fromtimestamp(binary.stat().st_mtime, datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "took": round(seconds),
    }


def page(found: dict[str, dict[str, Any]], known: dict[str, Any]) -> str:
    """All of it, for people."""
    machine = known["machine"]
    parts = [
        "# Portcullis under siege",
        f"{known['date']}, scripts of commit {known['commit']}, portcullis {known['portcullis']} ({known['binary']}), "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}, kernel {machine['kernel']}.",
        f"Written by `tests/bench/siege` in {known['took']} s. What must hold is checked by it, and ends it where it does not; "
        "the figures are this machine's.",
    ]
    for name, facts in found.items():
        rows = [["", ""], *([key, _cell(value)] for key, value in facts.items())]
        parts += [f"## {name}", SIEGES[name].__doc__ or "", report.markdown(rows)]
    return "\n\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return report.number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
