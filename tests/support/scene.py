"""Short ways to bring a job into the state that a test is about."""

from dataclasses import asdict
from typing import Any

from uuid6 import uuid7

from server_jobs.database import Database
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import Outcome
from server_jobs.records.requests import ClaimRequest, Settled
from server_jobs.records.rows import Claim, ClaimedJob, JobRecord, NewJob
from server_jobs.store.store import Store
from tests.support.clock import Clock

JOB = "Greet"


def new_job(job_name: str = JOB, params: str = "{}", **options: Any) -> NewJob:
    options.setdefault("id", str(uuid7()))
    return NewJob(job_name=job_name, params=params, **options)


def claim_of(
    limit: int = 1,
    *,
    queue: str = "default",
    job_names: tuple[str, ...] = (JOB,),
    worker_id: str = "worker",
    lease_seconds: float = 60,
    starting: bool = True,
) -> ClaimRequest:
    return ClaimRequest(queue, job_names, limit, worker_id, lease_seconds, starting)


def error(message: str = "boom", attempt: int = 1) -> AttemptError:
    return AttemptError(
        attempt=attempt,
        at=None,
        type="ValueError",
        message=message,
        traceback="Traceback …",
        worker="worker",
    )


def changes(before: JobRecord, after: JobRecord) -> dict[str, Any]:
    """The columns in which two readings of a row differ, with their new values."""
    old = asdict(before)
    return {name: value for name, value in asdict(after).items() if value != old[name]}


class Scene:
    """A store by a clock that only the test moves, and the jobs in it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.clock = clock
        self.store = Store(database, now=clock.expression)

    async def pending(self, **options: Any) -> str:
        """Enqueue one job → its id."""
        (job_id,) = await self.store.enqueue([new_job(**options)])
        return job_id

    async def claim(self, limit: int = 1, **options: Any) -> list[ClaimedJob]:
        return await self.store.claim(claim_of(limit, **options))

    async def running(self, *, starting: bool = True, **options: Any) -> Claim:
        """Enqueue one job and claim it for ``worker``, with a lease of 60 seconds."""
        job_id = await self.pending(**options)
        queue, name = options.get("queue", "default"), options.get("job_name", JOB)
        (job,) = await self.claim(queue=queue, job_names=(name,), starting=starting)
        assert job.id == job_id, "running() wants a queue without other jobs that are due"
        return job.claim

    async def claimed_again(self, job_id: str, *, starting: bool = True) -> Claim:
        """Claim a job that has gone round."""
        (job,) = await self.claim(starting=starting)
        assert job.id == job_id
        return job.claim

    async def settle(self, claim: Claim, outcome: Outcome) -> Settled | None:
        """Settle one job → what it became, or None where the lease was lost."""
        return (await self.store.settle({claim: outcome})).get(claim.job_id)

    async def get(self, job_id: str) -> JobRecord:
        return await self.store.get(job_id)
