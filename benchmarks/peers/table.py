"""The systems beside each other: one table of the best of each, one of every setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.comparison import Result
from benchmarks.support.machine import Machine
from benchmarks.support.measure import Samples
from benchmarks.support.report import amount

OURS = "server-jobs"

# What a peer's best is to be exceeded by, with our best; issue 3 set them.
TARGETS = {"PgQueuer": 1.0, "Procrastinate": 5.0, "Huey": 4.0}

HEADINGS = (
    "system", "worker", "drain", "server-jobs ÷ it", "target", "reached",
    "enqueue, one by one", "enqueue, 1,000 a call", "pickup p50", "p95",
)  # fmt: skip
SETTINGS_HEADINGS = ("system", "worker", "drain")


@dataclass(frozen=True)
class Table:
    """Texts, and what each line is about."""

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]


def ratio(ours: Result, peer: Result) -> float:
    """Our best worker beside its best worker."""
    return ours.drained[ours.best].median / peer.drained[peer.best].median


def reached(ours: Result, peer: Result) -> bool:
    """Ahead of the target; being level isn't being ahead."""
    return ratio(ours, peer) > TARGETS[peer.name]


def best(results: Sequence[Result]) -> Table:
    """Each system at its best settings."""
    ours = next((result for result in results if result.name == OURS), None)
    lines = []
    for result in results:
        compared = ("", "", "")
        if ours is not None and result is not ours:
            target = TARGETS[result.name]
            compared = (
                f"{ratio(ours, result):.2f}",
                "ahead" if target == 1 else f"≥ {target:g}",
                "yes" if reached(ours, result) else "NO",
            )
        lines.append(
            (
                f"{result.name} {result.version}",
                result.best,
                amount(result.drained[result.best], "/s"),
                *compared,
                amount(result.enqueued, "/s"),
                "none" if result.enqueued_many is None else amount(result.enqueued_many, "/s"),
                _milliseconds(result.pickup, 0.5),
                _milliseconds(result.pickup, 0.95),
            )
        )
    return Table(f"{results[0].database}, each at its best", HEADINGS, lines)


def every_setting(results: Sequence[Result]) -> Table:
    """How each system's settings change its drain."""
    lines = [
        (
            result.name,
            settings if settings in result.durable else f"{settings} (not durable)",
            amount(drained, "/s"),
        )
        for result in results
        for settings, drained in result.drained.items()
    ]
    return Table(f"{results[0].database}, every setting", SETTINGS_HEADINGS, lines)


def markdown(tables: Sequence[Table], machine: Machine, notes: Sequence[str]) -> str:
    """For a page."""
    parts = ["\n".join(f"- {line}" for line in [*machine.lines, *notes])]
    for table in tables:
        alignment = ["---" for _ in table.headings]
        rows = (table.headings, alignment, *table.lines)
        parts.append(
            f"**{table.title}**\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)
        )
    return "\n\n".join(parts) + "\n"


def document(results: Sequence[Result], machine: Machine, notes: Sequence[str]) -> dict[str, Any]:
    """For programs: every sample."""
    return {
        "machine": asdict(machine),
        "settings": list(notes),
        "systems": [
            asdict(result) | {"durable": sorted(result.durable), "best": result.best}
            for result in results
        ],
    }


def _milliseconds(samples: Samples, part: float) -> str:
    return f"{samples.quantile(part):.3g} ms"
