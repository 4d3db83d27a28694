"""What every backend offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server_jobs.errors import ConfigurationError
from server_jobs.records.outcomes import MAX_RELEASES
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.records.rows import ClaimedJob


@dataclass(frozen=True, slots=True)
class WorkerBackendConfig:
    """How a backend works. Times are in seconds."""

    queues: Sequence[str] = ("default",)
    concurrency: int = 50
    lease: float = DEFAULT_LEASE
    max_releases: int = MAX_RELEASES

    def __post_init__(self) -> None:
        if not self.queues or isinstance(self.queues, str) or not all(self.queues):
            raise ConfigurationError(f"queues={self.queues!r} must name one queue at least")
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
    """What a poll claimed; ``available_count`` is how many due jobs it found, these included."""

    claimed_jobs: list[ClaimedJob] = field(default_factory=list)
    available_count: int = 0


@dataclass(frozen=True, slots=True)
class WorkerExecutionResult:
    """How one execution went. ``duration`` is in milliseconds."""

    job_id: str
    success: bool
    duration: float
    error: str | None = None


class WorkerBackend(Protocol):
    """Where work runs."""

    @property
    def name(self) -> str:
        """What kind of backend this is."""

    @property
    def config(self) -> WorkerBackendConfig:
        """How it works."""

    async def initialize(self) -> None:
        """Make ready. Raises SchemaError where the tables can't be used."""

    async def shutdown(self) -> None:
        """Give back what is held and let go of everything."""

    async def poll_and_claim(self, limit: int | None = None) -> PollResult:
        """Claim due jobs, ``concurrency`` of them at most."""

    async def execute(self, job: ClaimedJob) -> WorkerExecutionResult:
        """Execute a claimed job and settle its record. Never raises for the job."""

    async def release_lock(self, job_id: str) -> None:
        """Give a claimed job back. Raises LeaseLostError where it isn't held here."""

    async def handle_expired_locks(self) -> int:
        """Take back jobs whose lease has expired, whoever held them → how many."""

    async def health_check(self) -> bool:
        """Whether the database answers and its tables can be used."""
