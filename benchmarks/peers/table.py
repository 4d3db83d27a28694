"""Makes the tables: one of each system's best settings, one of all settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.comparison import Result
from benchmarks.support.machine import Machine
from benchmarks.support.measure import Samples
from benchmarks.support.report import amount

OURS = "server-jobs"

# By which factor our best is to exceed a peer's best; issue 3 set them.
TARGETS = {"PgQueuer": 1.0, "Procrastinate": 5.0, "Huey": 4.0}

HEADINGS = (
    "system", "worker", "drain", "server-jobs ÷ it (range)", "target", "reached",
    "enqueue, one by one", "enqueue, 1,000 a call", "pickup p50", "p95",
)  # fmt: skip
SETTINGS_HEADINGS = ("system", "worker", "drain")


@dataclass(frozen=True)
class Table:
    """Holds a table's texts, and the subject of each line."""

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]


def ratios(ours: Result, peer: Result) -> Samples:
    """Compute the ratio of our best worker to a peer's for each round, which both shared."""
    pairs = zip(ours.drained.values, peer.drained.values, strict=True)
    return Samples(tuple(our_rate / its_rate for our_rate, its_rate in pairs))


def verdict(found: Samples, target: float) -> str:
    """Say whether the target was reached; unclear unless all rounds agree."""
    held = sum(value > target if target == 1 else value >= target for value in found.values)
    rounds = len(found.values)
    return {rounds: "yes", 0: "NO"}.get(held, f"unclear: in {held} of {rounds} rounds")


def best(results: Sequence[Result]) -> Table:
    """Make the table of each system's best settings."""
    ours = next((result for result in results if result.name == OURS), None)
    lines = []
    for result in results:
        compared = ("", "", "")
        if ours is not None and result is not ours:
            target = TARGETS[result.name]
            found = ratios(ours, result)
            compared = (
                f"{found.median:.2f} ({min(found.values):.2f}–{max(found.values):.2f})",
                "ahead" if target == 1 else f"≥ {target:g}",
                verdict(found, target),
            )
        lines.append(
            (
                f"{result.name} {result.version}",
                result.best,
                amount(result.drained, "/s"),
                *compared,
                amount(result.enqueued, "/s"),
                "none" if result.enqueued_many is None else amount(result.enqueued_many, "/s"),
                _milliseconds(result.pickup, 0.5),
                _milliseconds(result.pickup, 0.95),
            )
        )
    return Table(f"{results[0].database}, each at its best", HEADINGS, lines)


def every_setting(results: Sequence[Result]) -> Table:
    """Make the table of the drains by each system's settings."""
    lines = [
        (
            result.name,
            settings if settings in result.durable else f"{settings} (not durable)",
            amount(drained, "/s"),
        )
        for result in results
        for settings, drained in result.sweep.items()
    ]
    return Table(f"{results[0].database}, every setting", SETTINGS_HEADINGS, lines)


def markdown(tables: Sequence[Table], machine: Machine, notes: Sequence[str]) -> str:
    """Write the tables as Markdown, for a page."""
    parts = ["\n".join(f"- {line}" for line in [*machine.lines, *notes])]
    for table in tables:
        alignment = ["---" for _ in table.headings]
        rows = (table.headings, alignment, *table.lines)
        parts.append(
            f"**{table.title}**\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)
        )
    return "\n\n".join(parts) + "\n"


def document(results: Sequence[Result], machine: Machine, notes: Sequence[str]) -> dict[str, Any]:
    """Make a JSON document of every sample, for programs."""
    return {
        "machine": asdict(machine),
        "settings": list(notes),
        "systems": [asdict(result) for result in results],
    }


def _milliseconds(samples: Samples, part: float) -> str:
    return f"{samples.quantile(part):.3g} ms"
