"""What the kernel says of processes and of this machine."""

import os
import platform
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import figures

HERTZ = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """kB (1,024 bytes) of a process and its children: RSS counts a shared page in each, PSS once."""

    rss: int
    pss: int


def raise_limits(wanted: int) -> int:
    """As many open files as can be had, `wanted` at most, here and in every child; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(wanted, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
        except (OSError, ValueError):
            continue
        break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _stats() -> Iterator[tuple[int, str]]:
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                yield int(folder.name), (folder / "stat").read_text()
            except OSError:
                continue


def family(root: int) -> dict[int, str]:
    """The /proc/PID/stat of a process and of all below it, by id."""
    stats = dict(_stats())
    found, grown = {root}, True
    while grown:
        more = {pid for pid, stat in stats.items() if figures.parent_of(stat) in found} - found
        found |= more
        grown = bool(more)
    return {pid: stats[pid] for pid in found if pid in stats}


def cpu_ticks(root: int) -> int:
    """User and system time of a process, its threads and its children, in 1/HERTZ s."""
    return sum(figures.cpu_ticks(stat) for stat in family(root).values())


def memory(root: int) -> Memory:
    """What they hold in memory."""
    each = [figures.memory((PROC / str(pid) / "smaps_rollup").read_text()) for pid in family(root)]
    return Memory(sum(rss for rss, _ in each), sum(pss for _, pss in each))


def end_orphans(once: dict[int, str], seconds: float = 3) -> None:
    """Ends what is left of a family whose root has gone: only those very processes, known by id and time of birth."""
    end = time.monotonic() + seconds
    while left := [pid for pid, stat in once.items() if _is_still(pid, figures.born(stat))]:
        late = time.monotonic() > end
        for pid in left if late else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if late:
            return
        time.sleep(0.02)


def _is_still(pid: int, birth: int) -> bool:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return figures.born(stat) == birth and stat.rpartition(")")[2].split()[0] != "Z"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    about = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", about, re.MULTILINE)
    total = re.search(r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(total[1]) // 1024} MB" if total else "unknown",
        "kernel": platform.release(),
        "system": system,
    }


def versions(binary: Path) -> dict[str, str]:
    """Of every program that takes part."""
    asked = {
        "portcullis": ([str(binary), "--version"], r"portcullis (\S+)"),
        "nginx": (["nginx", "-v"], r"nginx/(\S+)"),
        "haproxy": (["haproxy", "-v"], r"[Vv]ersion (\S+)"),
        "caddy": (["caddy", "version"], r"v?(\S+)"),
        "h2load": (["h2load", "--version"], r"nghttp2/(\S+)"),
        "openssl": (["openssl", "version"], r"OpenSSL (\S+)"),
        "redis": (["redis-server", "--version"], r"v=(\S+)"),
    }
    return {name: _version(command, pattern) for name, (command, pattern) in asked.items()}


def _version(command: list[str], pattern: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "missing"
    found = re.search(pattern, run.stdout + run.stderr)
    return found[1] if found else "unknown"
