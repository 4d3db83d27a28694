"""The settings of a Worker. Variables in its environment go before arguments in its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server_jobs.backend.protocol import WorkerBackendConfig
from server_jobs.errors import ConfigurationError

LONGEST_BUDGET = 840.0
"""Seconds. The platform ends an invocation after fifteen minutes, and jobs that are interrupted
before that need a moment to be settled.
"""

LONGEST_ALONE = 55.0
"""Seconds. The next tick comes after a minute, so that longer ticks overlap and take turns."""

CLAIMING = 0.8
"""The part of a tick in which it claims. Jobs that it claimed later would only be given back."""

LAST_MOMENT_SECONDS = 3.0
"""How long interrupted handlers may take to end, so that their jobs can be given back."""

QUERY_LIMIT = 1_000
"""How many queries the platform allows one invocation."""

RESERVED_QUERIES = 100
"""How many of those a tick needs at least to settle its jobs after it has stopped claiming."""

MOST_AT_ONCE = 100
"""Handlers at once. They share four connections, so that more would only wait for each other."""


@dataclass(frozen=True, slots=True)
class EdgeConfig(WorkerBackendConfig):
    """How a Worker works. Times are in seconds.

    A tick claims until four fifths of ``wall_budget`` are over, so that every job has some time,
    and interrupts handlers at its end. The next tick comes after a minute; of ticks that last
    longer, one claims at a time. A tick stops claiming when it has sent ``max_queries`` queries.
    Soon after that, handlers may send no more, then they are interrupted. The rest of the
    platform's 1,000 queries settles their jobs. Raises ConfigurationError for values that make no
    sense.
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
                f" {LONGEST_BUDGET:g} seconds: the platform ends a tick after 15 minutes"
            )
        if self.concurrency > MOST_AT_ONCE:
            raise ConfigurationError(
                f"max_concurrency={self.concurrency} is above {MOST_AT_ONCE}: an invocation has"
                " six connections, of which handlers share four"
            )
        if not self.lease > self.wall_budget + LAST_MOMENT_SECONDS:
            raise ConfigurationError(
                f"lease_seconds={self.lease:g} must be longer than the wall budget of"
                f" {self.wall_budget:g} s and {LAST_MOMENT_SECONDS:g} s to settle in: nothing"
                " renews a lease beside a handler that computes"
            )
        if not 10 <= self.max_queries <= QUERY_LIMIT - RESERVED_QUERIES:
            raise ConfigurationError(
                f"max_queries={self.max_queries} isn't from 10 to"
                f" {QUERY_LIMIT - RESERVED_QUERIES}: the platform allows {QUERY_LIMIT} an"
                " invocation, and settling needs some"
            )
        if self.max_jobs_per_tick < 1:
            raise ConfigurationError(
                f"max_jobs_per_tick={self.max_jobs_per_tick} must be 1 or more"
            )
        if not 1 <= self.api_max_bytes <= 1024 * 1024:
            raise ConfigurationError(
                f"api_max_bytes={self.api_max_bytes} isn't from 1 to {1024 * 1024}"
            )

    @property
    def takes_turns(self) -> bool:
        """Whether a tick may last so long that the next one comes before its end."""
        return self.wall_budget > LONGEST_ALONE

    @property
    def claiming_seconds(self) -> float:
        """For how many seconds a tick claims."""
        return CLAIMING * self.wall_budget

    @property
    def handler_ceiling(self) -> int:
        """The number of queries in a tick after which its handlers may send no more."""
        return self.max_queries + max(self.max_queries // 25, 5)

    @property
    def ceiling(self) -> int:
        """The number of queries after which handlers are interrupted, and the rest settles jobs."""
        return self.max_queries + max(self.max_queries * 2 // 25, 10)

    def in_environment(self, env: Any) -> EdgeConfig:
        """Return these settings with those that the Worker's variables change.

        Raises ConfigurationError for a variable that can't be read.
        """
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
    """Return a variable or secret of the Worker. None is one that is unset or empty."""
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
"""Each variable, the field of ``EdgeConfig`` that it sets, and how its text is read."""
