"""Conditions, as Kubernetes writes them: what is so, since when, and of which generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is so, or isn't."""

    type: str
    holds: bool
    reason: str
    message: str


def updated(
    former: Iterable[Mapping[str, Any]], conditions: Iterable[Condition], generation: int
) -> list[dict[str, Any]]:
    """The list to write; what holds as before keeps its time of transition."""
    before = {condition.get("type"): condition for condition in former}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    written = []
    for condition in conditions:
        status = "True" if condition.holds else "False"
        known = before.get(condition.type, {})
        since = known.get("lastTransitionTime") if known.get("status") == status else None
        written.append(
            {
                "type": condition.type,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": since or now,
                "reason": condition.reason,
                "message": condition.message[:2_000],
            }
        )
    return written
