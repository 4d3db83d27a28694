"""The protocol of backends, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server_jobs.errors import ConfigurationError
from server_jobs.records.names import QUEUE
from server_jobs.records.outcomes import MAX_RELEASES
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.records.rows import ClaimedJob


@dataclass(frozen=True, slots=True)
class WorkerBackendConfig:
    """How a backend works.

    ``lease`` is how long after its worker's death a job is given to another worker, in seconds.
    ``max_releases`` is how often in a row a job may be given back before it fails. Raises
    ConfigurationError for values that make no sense.
    """

    queues: Sequence[str] = ("default",)
    concurrency: int = 50
    lease: float = DEFAULT_LEASE
    max_releases: int = MAX_RELEASES

    def __post_init__(self) -> None:
        if not self.queues or isinstance(self.queues, str):
            raise ConfigurationError(
                f"queues={self.queues!r} must name one queue at least, in a list or tuple"
            )
        for queue in self.queues:
            if not QUEUE.allows(queue):
                raise ConfigurationError(f"queues: {queue!r} isn't {QUEUE.words}")
        if not 1 <= self.concurrency <= 10_000:
            raise ConfigurationError(f"concurrency={self.concurrency} isn't from 1 to 10000")
        if not 1 <= self.lease <= 7 * 86_400:
            raise ConfigurationError(
                f"lease={self.lease} isn't between 1 second and 7 days; it is renewed while the"
                " worker lives, so that minutes are enough"
            )
        if self.max_releases < 0:
            raise ConfigurationError(f"max_releases={self.max_releases} must be at least 0")


@dataclass(frozen=True, slots=True)
class PollResult:
    """The jobs that a poll claimed, and how many due jobs it found, these included."""

    claimed_jobs: list[ClaimedJob] = field(default_factory=list)
    available_count: int = 0


@dataclass(frozen=True, slots=True)
class WorkerExecutionResult:
    """How one execution went. ``duration`` is in milliseconds.

    ``error`` is the reason why there is no result; None if there is one.
    """

    job_id: str
    success: bool
    duration: float
    error: str | None = None


class WorkerBackend(Protocol):
    """A place where jobs run: it claims them, executes them and settles their records."""

    @property
    def name(self) -> str:
        """The kind of backend, with which worker ids begin."""

    @property
    def config(self) -> WorkerBackendConfig:
        """The settings of this backend."""

    async def initialize(self) -> None:
        """Get ready to claim. Raises SchemaError where the tables can't be used."""

    async def shutdown(self) -> None:
        """Give back the jobs that are held, and release all resources."""

    async def poll_and_claim(self, limit: int | None = None) -> PollResult:
        """Claim due jobs, at most ``limit``, which is ``concurrency`` by default."""

    async def execute(self, job: ClaimedJob) -> WorkerExecutionResult:
        """Execute a claimed job and settle its record → how it went. Raises no handler's error."""

    async def release_lock(self, job_id: str) -> None:
        """Give a claimed job back. Raises LeaseLostError where it isn't held here."""

    async def handle_expired_locks(self) -> int:
        """Take back all jobs whose lease has expired, also other workers' → how many."""

    async def health_check(self) -> bool:
        """Return whether the database answers and its tables can be used."""
