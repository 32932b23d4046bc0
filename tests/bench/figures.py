"""The arithmetic of the bench, without any process or clock: ticks, medians, ratios, percentiles, what h2load says."""

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Unreadable(Exception):
    """A program's output is not what it always was."""


def microseconds_each(ticks: int, hertz: int, answered: int) -> float:
    """CPU time of one request: `ticks` of 1/`hertz` second, spent on `answered` requests."""
    if answered <= 0:
        raise ValueError("nothing was answered")
    return ticks * 1_000_000 / hertz / answered


def kilobytes_each(before: int, after: int, count: int) -> float:
    """Growth from `before` to `after` (both kB, as /proc has them), for each of `count` things."""
    if count <= 0:
        raise ValueError("nothing was opened")
    return (after - before) / count


def median(values: Iterable[float]) -> float:
    """The middle one; between the two middle ones where their number is even."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` per cent of all are not above (nearest rank)."""
    if not values:
        raise ValueError("no values")
    rank = max(1, math.ceil(share * len(values) / 100))
    return sorted(values)[rank - 1]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: both sides of a ratio were measured within the same minute."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds here, {len(theirs)} there")
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def rotated(things: Sequence[T], by: int) -> list[T]:
    """The same things, begun with another one: no subject is always first."""
    start = by % len(things) if things else 0
    return [*things[start:], *things[:start]]


def schedule(rate: float, seconds: float, seed: int) -> list[float]:
    """Moments (s) at which somebody comes who knows of nobody else: `rate` a second on average, the same for the same seed."""
    chance, at, moments = random.Random(seed), 0.0, []
    while (at := at + chance.expovariate(rate)) < seconds:
        moments.append(at)
    return moments or [0.0]


def cpu_ticks(stat: str) -> int:
    """utime and stime of /proc/PID/stat. The name in brackets may have spaces and brackets in it."""
    after_name = stat.rpartition(")")[2].split()
    # Field 3, the state, is the first here; utime is field 14 and stime field 15 (proc(5)).
    return int(after_name[11]) + int(after_name[12])


def parent_of(stat: str) -> int:
    """The parent's id in /proc/PID/stat."""
    return int(stat.rpartition(")")[2].split()[1])


def born(stat: str) -> int:
    """When the process of a /proc/PID/stat started, in ticks since boot: with its id, its identity."""
    return int(stat.rpartition(")")[2].split()[19])


def memory(rollup: str) -> tuple[int, int]:
    """RSS and PSS in kB of /proc/PID/smaps_rollup."""
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB$", rollup, re.MULTILINE))
    if found.keys() != {"Rss", "Pss"}:
        raise Unreadable(f"no Rss and Pss in smaps_rollup: {rollup[:200]!r}")
    return int(found["Rss"]), int(found["Pss"])


@dataclass(frozen=True)
class Load:
    """What h2load says it did."""

    rate: float
    total: int
    succeeded: int
    failed: int
    errored: int
    timed_out: int
    ok: int

    @property
    def clean(self) -> bool:
        """Every request was answered, and with 2xx."""
        return self.total == self.succeeded == self.ok and not (self.failed or self.errored or self.timed_out)


def load(output: str) -> Load:
    """Reads h2load's report."""
    rate = re.search(r"^finished in [\d.]+(?:us|ms|s|m|h), ([\d.]+) req/s", output, re.MULTILINE)
    counts = re.search(
        r"^requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
        output,
        re.MULTILINE,
    )
    status = re.search(r"^status codes: (\d+) 2xx", output, re.MULTILINE)
    if not (rate and counts and status):
        raise Unreadable(f"no report of h2load:\n{output[-1000:]}")
    total, succeeded, failed, errored, timed_out = map(int, counts.groups())
    return Load(float(rate[1]), total, succeeded, failed, errored, timed_out, int(status[1]))


@dataclass(frozen=True)
class Request:
    """A line of h2load's log: when it began (µs), how it ended, how long it took (µs)."""

    began: int
    status: int
    took: int


def requests(log: str) -> list[Request]:
    """Reads h2load's log: start, status (-1 where there was none), duration; more columns may follow."""
    return [Request(*map(int, line.split("\t")[:3])) for line in log.splitlines()]


def settled(all_of_them: Sequence[Request], share: float = 0.1) -> list[int]:
    """Durations of those that began after the first `share` of the run: connections are made in that."""
    first = min(it.began for it in all_of_them)
    last = max(it.began for it in all_of_them)
    since = first + (last - first) * share
    return [it.took for it in all_of_them if it.began >= since]


def rate(sent: Sequence[Request]) -> float:
    """Requests a second, from the first to the last that began."""
    began = [it.began for it in sent]
    length = max(began) - min(began)
    if not length:
        raise ValueError("too few requests for a rate")
    return (len(began) - 1) * 1_000_000 / length
