"""The four sieges, and the page that tells what was found."""

import datetime
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import held
import report
import system
from stage import Stage

HERE = Path(__file__).resolve().parent


def streams(stage: Stage, quick: bool, found: dict[str, Any]) -> None:
    """5,000 event streams for two minutes, tokens refreshed and revoked under them."""
    plan = held.Plan(400, 8, 2, 8.0, (2, 4)) if quick else held.Plan(5000, 20, 5, 120.0)
    found |= held.streams(stage, plan)


# In this order; the name is what `--only` takes.
SIEGES: dict[str, Callable[[Stage, bool, dict[str, Any]], None]] = {
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
        "took": round(seconds),
    }


def page(found: dict[str, dict[str, Any]], known: dict[str, Any]) -> str:
    """All of it, for people."""
    machine = known["machine"]
    parts = [
        "# Portcullis under siege",
        f"{known['date']}, commit {known['commit']} (portcullis {known['portcullis']}), {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory']}, {machine['system']}, kernel {machine['kernel']}.",
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
