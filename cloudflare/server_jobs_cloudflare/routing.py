"""Checks, when a Worker is built, that it can execute its jobs."""

from __future__ import annotations

from typing import Any

from server_jobs.definition.definition import JobDefinition
from server_jobs.errors import ConfigurationError
from server_jobs.registry import JobRegistry


def check_routes(registry: JobRegistry, wall_budget: float) -> None:
    """Raise ConfigurationError for a registry with jobs that the edge can't execute."""
    reasons = []
    for name in registry.get_names():
        reason = _why_not(registry.get(name).definition, wall_budget)
        if reason is not None:
            reasons.append(f"{name} {reason}")
    if reasons:
        raise ConfigurationError(
            f"a Worker can't execute {'; '.join(reasons)}. Give the Worker a registry without that"
            " job, and enqueue it to a queue that another backend serves"
        )


def _why_not(definition: JobDefinition[Any, Any], wall_budget: float) -> str | None:
    if definition.runs_on not in {None, "edge"}:
        return f"is declared with runs_on={definition.runs_on!r}"
    if definition.runtime is not None:
        return "asks for a pod with runtime=, which only Kubernetes has"
    timeout = definition.timeout_seconds
    if timeout is not None and timeout > wall_budget:
        return f"may take {timeout:g} s (timeout=), longer than a tick's {wall_budget:g} s"
    return None
