"""Conditions in a resource's status, in the form that Kubernetes prescribes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition to write into a status."""

    type: str
    holds: bool | None
    """None if it is unknown whether it holds."""
    reason: str
    """One word in CamelCase, for programs."""
    message: str
    """A sentence for people."""


_STATUS = {True: "True", False: "False", None: "Unknown"}


def changes(
    former: Iterable[Mapping[str, Any]], written: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Those of ``written`` whose status or reason differs from the former ones."""
    before = {(one.get("type"), one.get("status"), one.get("reason")) for one in former}
    return [one for one in written if (one["type"], one["status"], one["reason"]) not in before]


def updated(
    former: Iterable[Mapping[str, Any]], conditions: Iterable[Condition], generation: int
) -> list[dict[str, Any]]:
    """The list to write into the status.

    A condition whose status hasn't changed keeps its time of transition.
    """
    before = {condition.get("type"): condition for condition in former}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    written = []
    for condition in conditions:
        status = _STATUS[condition.holds]
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
