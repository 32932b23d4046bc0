"""What was found, against the goals: as JSON for programs, as one page for people. No process, no clock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from figures import median, ratios

OURS = "portcullis"
COLUMNS = {"portcullis": "Portcullis", "nginx": "nginx", "haproxy": "HAProxy", "caddy": "Caddy"}
MISSING = "–"


@dataclass
class Record:
    """Every value of every round, by measure and subject, in the order in which it was found."""

    measures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, measure: str, unit: str, subject: str, value: float) -> None:
        """One more round's value."""
        kept = self.measures.setdefault(measure, {"unit": unit, "subjects": {}})
        if kept["unit"] != unit:
            raise ValueError(f"{measure} is told in {kept['unit']}, not {unit}")
        kept["subjects"].setdefault(subject, []).append(value)

    def values(self, measure: str, subject: str) -> list[float]:
        """Of all rounds; none if it was not measured."""
        return self.measures.get(measure, {}).get("subjects", {}).get(subject, [])

    def largest(self, prefix: str) -> str:
        """Of the measures `PREFIX.NUMBER` the one with the largest number."""
        numbers = [int(name.rpartition(".")[2]) for name in self.measures if name.rpartition(".")[0] == prefix]
        return f"{prefix}.{max(numbers, default=0)}"


@dataclass(frozen=True)
class Goal:
    """A row of the issue's table."""

    text: str
    wanted: str
    unit: str
    # Round by round.
    values: Callable[[Record], Sequence[float]]
    met: Callable[[float], bool]

    def judge(self, record: Record) -> dict[str, Any]:
        """The median, and whether it is good enough; None where it was not measured."""
        values = self.values(record)
        figure = median(values) if values else None
        return {
            "goal": self.text,
            "wanted": self.wanted,
            "unit": self.unit,
            "figure": figure,
            "least": min(values, default=None),
            "most": max(values, default=None),
            "met": None if figure is None else self.met(figure),
        }


def _over(measure: str, other: str) -> Callable[[Record], Sequence[float]]:
    return lambda record: shared(record.values(measure, OURS), record.values(measure, other))


def shared(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratios of the rounds that both have: a run that fails ends in the middle of one."""
    rounds = min(len(ours), len(theirs))
    return ratios(ours[:rounds], theirs[:rounds])


def _of(measure: str) -> Callable[[Record], Sequence[float]]:
    return lambda record: record.values(measure, OURS)


def _stream(other: str | None) -> Callable[[Record], Sequence[float]]:
    def values(record: Record) -> Sequence[float]:
        measure = record.largest("stream.rss")
        ours = record.values(measure, OURS)
        return shared(ours, record.values(measure, other)) if other else ours

    return values


def _scaled(many: str, few: str) -> Callable[[Record], Sequence[float]]:
    return lambda record: shared(record.values("scale", many), record.values("scale", few))


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda figure: figure <= limit


def _equal(figure: float) -> bool:
    # 1.05 is no number of a computer's, and is near enough.
    return abs(figure - 1) <= 0.05 + 1e-9


GOALS = [
    *(
        Goal(f"CPU per authenticated request, {version}, over {COLUMNS[other]}", f"≤ {limit}", "×",
             _over(f"cpu.{short}", other), _at_most(limit))
        for other, limit in [("nginx", 1.0), ("haproxy", 0.3)]
        for short, version in [("h1", "HTTP/1.1"), ("h2", "HTTP/2")]
    ),
    *(
        Goal(f"CPU per new TLS connection with one request, {kind}, over nginx", "≤ 1.0", "×",
             _over(f"connection.{kind}", "nginx"), _at_most(1.0))
        for kind in ["full", "resumed"]
    ),
    Goal("memory per open authenticated stream (RSS)", "≤ 20", "KB", _stream(None), _at_most(20)),
    Goal("memory per open authenticated stream, over HAProxy", "< 1", "×", _stream("haproxy"), lambda it: it < 1),
    Goal("idle RSS, 20 services", "≤ 15", "MB", _of("idle.rss"), _at_most(15)),
    Goal("start to first accepted connection (end of its TLS handshake)", "≤ 50", "ms", _of("start.handshake"), _at_most(50)),
    *(
        Goal(f"added latency at half load, {version}, p{share}", f"≤ {limit}", "µs",
             _of(f"latency.{short}.p{share}"), _at_most(limit))
        for short, version in [("h1", "HTTP/1.1"), ("h2", "HTTP/2")]
        for share, limit in [(50, 60), (99, 300)]
    ),
    Goal("request with many services over one, each on a host of its own", "1 ± 0.05", "×",
         _scaled("services.many.hosts", "services.1"), _equal),
    Goal("request with many services over one, all on one host", "1 ± 0.05", "×",
         _scaled("services.many.paths", "services.1"), _equal),
    Goal("request with many live grants over one (embedded store)", "1 ± 0.05", "×", _scaled("grants.issued", "services.1"), _equal),
    Goal("request with many live grants over ten (Redis)", "1 ± 0.05", "×", _scaled("grants.many", "grants.few"), _equal),
]  # fmt: skip


def judged(record: Record) -> list[dict[str, Any]]:
    """Every goal, met or not."""
    return [goal.judge(record) for goal in GOALS]


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return MISSING
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The median, and between what the rounds were."""
    if not values:
        return MISSING
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


MET = {True: "met", False: "**not met**", None: "not measured"}


def goal_table(goals: list[dict[str, Any]]) -> list[list[str]]:
    """Goal, what is wanted, what it is, whether that is met."""
    rows = [["goal", "wanted", "figure (rounds)", ""]]
    for it in goals:
        between = f" ({number(it['least'])} to {number(it['most'])})" if it["figure"] is not None else ""
        unit = "" if it["figure"] is None else f" {it['unit']}"
        rows.append([it["goal"], f"{it['wanted']} {it['unit']}", f"{number(it['figure'])}{unit}{between}", MET[it["met"]]])
    return rows


def figure_table(record: Record) -> list[list[str]]:
    """Every measure of the four proxies, and what ours is of nginx's and HAProxy's."""
    rows = [["", "unit", *COLUMNS.values(), "÷ nginx", "÷ HAProxy"]]
    for measure, kept in record.measures.items():
        subjects = kept["subjects"]
        if OURS not in subjects:
            continue
        ours = subjects[OURS]
        quotients = [
            number(median(shared(ours, theirs))) if (theirs := subjects.get(other)) and all(theirs) else MISSING
            for other in ["nginx", "haproxy"]
        ]
        rows.append([title(measure), kept["unit"], *(spread(subjects.get(it, [])) for it in COLUMNS), *quotients])
    return rows


def scale_table(record: Record) -> list[list[str]]:
    """Portcullis alone, with more and less of everything."""
    rows = [["Portcullis with", "CPU per request, µs", "RSS, MB"]]
    for subject, values in record.measures.get("scale", {}).get("subjects", {}).items():
        rows.append([title(subject), spread(values), spread(record.values("scale.rss", subject))])
    return rows


TITLES = {
    "cpu.h1": "CPU per request, HTTP/1.1",
    "cpu.h2": "CPU per request, HTTP/2",
    "connection.full": "CPU per new connection with one request, full handshake",
    "connection.resumed": "CPU per new connection with one request, resumed",
    "stream.left": "RSS that is left 12 s after all streams have gone",
    "idle.rss": "idle RSS (Portcullis: 20 services; the others: one)",
    "idle.pss": "idle PSS, likewise",
    "start.handshake": "start to the end of the first TLS handshake",
    "start.answer": "start to the first answer",
    "services.1": "one service",
    "services.many.hosts": "many services, each on a host of its own",
    "services.many.paths": "many services on one host, the last of them",
    "access-log": "one service, access lines written to a file",
    "grants.issued": "many live grants, issued (embedded store)",
    "grants.few": "ten live grants (Redis)",
    "grants.many": "many live grants, planted (Redis)",
}


def title(measure: str) -> str:
    """A measure in words."""
    if measure in TITLES:
        return TITLES[measure]
    match measure.split("."):
        case ["stream", kind, count]:
            return f"{kind.upper()} per stream, {int(count):,} open"
        case ["latency", protocol, "rate"]:
            return f"rate at half load, {_version(protocol)}"
        case ["latency", protocol, share]:
            return f"added latency {share}, {_version(protocol)}"
        case ["latency", protocol, share, "direct"]:
            return f"direct {share} at that rate, {_version(protocol)}"
        case _:
            return measure


def _version(protocol: str) -> str:
    return {"h1": "HTTP/1.1", "h2": "HTTP/2"}[protocol]


def markdown(rows: list[list[str]]) -> str:
    """A table for a page."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def plain(rows: list[list[str]]) -> str:
    """The same for a terminal."""
    rows = [[cell.replace("**", "") for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def tables(record: Record) -> list[tuple[str, list[list[str]]]]:
    """What there is to show, each with its heading."""
    shown = [("Goals", goal_table(judged(record))), ("Figures", figure_table(record)), ("Size", scale_table(record))]
    return [(heading, rows) for heading, rows in shown if len(rows) > 1]


def document(record: Record, about: dict[str, Any]) -> dict[str, Any]:
    """All of it, for programs."""
    return {**about, "goals": judged(record), "measures": record.measures}


def page(record: Record, about: dict[str, Any], method: str) -> str:
    """All of it, for people."""
    machine, settings = about["machine"], about["settings"]
    sizes = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in settings.items())
    programs = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [
        "# Portcullis beside nginx, HAProxy and Caddy",
        f"{about['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}, "
        f"kernel {machine['kernel']}.\n{programs}.",
        f"Written by `tests/bench/run` ({sizes}); all values are in result.json. "
        "A figure is the median of its rounds, a ratio the median of the ratios within the rounds.",
    ]
    for heading, rows in tables(record):
        parts += [f"## {heading}", markdown(rows)]
    return "\n\n".join([*parts, "## How it was measured", method.strip()]) + "\n"
