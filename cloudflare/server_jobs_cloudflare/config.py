"""How a Worker works: what its code says, then what its environment says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server_jobs.backend import WorkerBackendConfig
from server_jobs.errors import ConfigurationError

LONGEST_BUDGET = 55.0
"""Seconds. The next tick comes after a minute; what is interrupted needs a moment to be settled."""

QUERY_LIMIT = 1_000
"""Of one invocation, by the platform."""


@dataclass(frozen=True, slots=True)
class EdgeConfig(WorkerBackendConfig):
    """How a Worker works. Times are in seconds.

    A tick claims until four fifths of ``wall_budget`` are over, so that what it claims has some
    time, and interrupts at its end. It claims no more once it has sent ``max_queries`` statements:
    the rest of the platform's 1,000 settles what runs.
    """

    queues: Sequence[str] = ("edge",)
    concurrency: int = 4
    wall_budget: float = 50.0
    max_queries: int = 800
    max_jobs_per_tick: int = 1_000
    prune_schedules: bool = False
    api_jobs: Sequence[str] | None = None
    api_queues: Sequence[str] | None = None
    api_max_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        WorkerBackendConfig.__post_init__(self)
        if not 0 < self.wall_budget <= LONGEST_BUDGET:
            raise ConfigurationError(
                f"wall_budget={self.wall_budget:g} isn't more than 0 and at most"
                f" {LONGEST_BUDGET:g} seconds: the next tick comes after a minute"
            )
        if self.lease <= self.wall_budget:
            raise ConfigurationError(
                f"lease_seconds={self.lease:g} must be longer than the wall budget of"
                f" {self.wall_budget:g} s: nothing renews a lease beside a handler that computes"
            )
        if not 10 <= self.max_queries < QUERY_LIMIT:
            raise ConfigurationError(
                f"max_queries={self.max_queries} isn't from 10 to {QUERY_LIMIT - 1}: the platform"
                f" allows {QUERY_LIMIT} an invocation, and settling needs some"
            )
        if self.max_jobs_per_tick < 1:
            raise ConfigurationError(
                f"max_jobs_per_tick={self.max_jobs_per_tick} must be 1 or more"
            )
        if not 1 <= self.api_max_bytes <= 1024 * 1024:
            raise ConfigurationError(
                f"api_max_bytes={self.api_max_bytes} isn't from 1 to {1024 * 1024}"
            )

    def in_environment(self, env: Any) -> EdgeConfig:
        """The same, but for what variables of the Worker say. Raises ConfigurationError."""
        said: dict[str, Any] = {}
        for name, (option, read) in VARIABLES.items():
            text = variable(env, name)
            if text is None:
                continue
            try:
                said[option] = read(text)
            except ValueError:
                raise ConfigurationError(
                    f"{name}={text!r} can't be read as {_KINDS[read]}; correct it in wrangler.jsonc"
                ) from None
        return replace(self, **said)


def variable(env: Any, name: str) -> str | None:
    """A variable or secret of the Worker; one that is empty counts as unset."""
    value = getattr(env, name, None)
    return value if isinstance(value, str) and value else None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _flag(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(text)


_KINDS: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    float: "a number",
    _names: "names, separated by commas",
    _flag: "true or false",
}

VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "SERVER_JOBS_QUEUES": ("queues", _names),
    "SERVER_JOBS_MAX_CONCURRENCY": ("concurrency", int),
    "SERVER_JOBS_LEASE_SECONDS": ("lease", float),
    "SERVER_JOBS_MAX_RELEASES": ("max_releases", int),
    "SERVER_JOBS_WALL_BUDGET_SECONDS": ("wall_budget", float),
    "SERVER_JOBS_MAX_QUERIES_PER_TICK": ("max_queries", int),
    "SERVER_JOBS_MAX_JOBS_PER_TICK": ("max_jobs_per_tick", int),
    "SERVER_JOBS_PRUNE_SCHEDULES": ("prune_schedules", _flag),
    "SERVER_JOBS_API_JOBS": ("api_jobs", _names),
    "SERVER_JOBS_API_QUEUES": ("api_queues", _names),
    "SERVER_JOBS_API_MAX_BYTES": ("api_max_bytes", int),
}
"""What the environment can say, and the option that it stands for."""
