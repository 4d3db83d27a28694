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
    "system", "worker", "drain", "server-jobs ÷ it (range)", "target", "reached",
    "enqueue, one by one", "enqueue, 1,000 a call", "pickup p50", "p95",
)  # fmt: skip
SETTINGS_HEADINGS = ("system", "worker", "drain")


@dataclass(frozen=True)
class Table:
    """Texts, and what each line is about."""

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]


def ratios(ours: Result, peer: Result) -> Samples:
    """Our best worker to its best worker, round by round: both had the same disturbances."""
    pairs = zip(ours.drained.values, peer.drained.values, strict=True)
    return Samples(tuple(our_rate / its_rate for our_rate, its_rate in pairs))


def verdict(found: Samples, target: float) -> str:
    """Only what all rounds agree on is called reached, or not."""
    held = sum(value > target if target == 1 else value >= target for value in found.values)
    rounds = len(found.values)
    return {rounds: "yes", 0: "NO"}.get(held, f"unclear: in {held} of {rounds} rounds")


def best(results: Sequence[Result]) -> Table:
    """Each system at its best settings."""
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
    """How each system's settings change its drain."""
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
        "systems": [asdict(result) for result in results],
    }


def _milliseconds(samples: Samples, part: float) -> str:
    return f"{samples.quantile(part):.3g} ms"
