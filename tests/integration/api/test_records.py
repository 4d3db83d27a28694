"""What can be done with a job by its id: execute, wait, cancel, retry."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import update

from server_jobs import (
    CancelJob,
    InvalidParamsError,
    Job,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobRecord,
    JobStatus,
    RetryLater,
    RetryPolicy,
    define_job,
)
from server_jobs.database import Database
from server_jobs.errors import (
    InvalidResultError,
    JobNotClaimableError,
    JobNotFoundError,
    JobNotRetryableError,
    WaitTimeoutError,
)
from server_jobs.records.requests import ClaimRequest
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


class Number(BaseModel):
    value: int


class Stuck(Exception):
    """Raised by the handler on every odd value."""


@pytest.fixture
def halve(database: Database) -> Job[Number, Number]:
    @define_job(name="Halve", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
    async def halve(params: Number) -> Number:
        if params.value % 2:
            raise Stuck(f"{params.value} is odd")
        return Number(value=params.value // 2)

    halve.set_database(database)
    return halve


@pytest.fixture
def other(database: Database) -> Job[Number, None]:
    @define_job(name="Other")
    async def other(params: Number) -> None: ...

    other.set_database(database)
    return other


async def change(database: Database, job_id: str, **columns: Any) -> None:
    """What another program, or an older release, has done to the row."""
    jobs = database.tables.jobs
    await database.execute(Statement(update(jobs).where(jobs.c.id == job_id).values(**columns)))


# ── execute_from_database ────────────────────────────────────────────────────────────────────


async def test_due_job_is_claimed_and_executed(halve: Job[Number, Number], store: Store) -> None:
    job_id = await halve.later({"value": 4}, correlation_id="c")

    result = await halve.execute_from_database(job_id)

    assert result.data == Number(value=2)
    metadata = result.metadata
    assert (metadata.job_id, metadata.attempt, metadata.correlation_id) == (job_id, 1, "c")
    row = await halve.get(job_id)
    assert (row.status, row.fence, row.attempt_count) == (JobStatus.COMPLETED, 1, 1)


async def test_failed_attempt_goes_round_as_with_any_worker(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 3})

    first = await halve.execute_from_database(job_id)
    second = await halve.execute_from_database(job_id)

    assert [first.metadata.status, second.metadata.status] == [JobStatus.PENDING, JobStatus.FAILED]
    assert isinstance(first.error, JobFailedError)
    assert isinstance(first.error.__cause__, Stuck)
    row = await halve.get(job_id)
    assert (row.fence, row.attempt_count) == (2, 2)
    assert [error.attempt for error in row.attempt_errors] == [1, 2]


async def test_retry_later_puts_a_queued_job_back(database: Database) -> None:
    @define_job(name="Busy", max_attempts=1)
    async def busy(params: None) -> None:
        raise RetryLater(60)

    busy.set_database(database)
    job_id = await busy.later(None)
    result = await busy.execute_from_database(job_id)

    assert (result.ok, result.metadata.status) == (False, JobStatus.PENDING)
    row = await busy.get(job_id)
    assert (row.status, row.attempt_count) == (JobStatus.PENDING, 0)


async def test_cancelled_job_has_an_error_that_says_so(database: Database) -> None:
    @define_job(name="Unwanted")
    async def unwanted(params: None) -> None:
        raise CancelJob("withdrawn")

    unwanted.set_database(database)
    result = await unwanted.execute_from_database(await unwanted.later(None))

    with pytest.raises(JobCancelledError, match="was cancelled: withdrawn"):
        result.data  # noqa: B018


async def test_cancelling_the_caller_gives_a_queued_job_back(database: Database) -> None:
    begun = asyncio.Event()

    @define_job(name="Sleep")
    async def sleep(params: None) -> None:
        begun.set()
        await asyncio.sleep(30)

    sleep.set_database(database)
    job_id = await sleep.later(None)
    running = asyncio.create_task(sleep.execute_from_database(job_id))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    row = await sleep.get(job_id)
    assert (row.status, row.attempt_count, row.ready) == (JobStatus.PENDING, 0, True)


async def test_claim_is_taken_up_under_its_fence_once(
    halve: Job[Number, Number], store: Store
) -> None:
    job_id = await halve.later({"value": 4})
    claim = ClaimRequest("default", ["Halve"], 1, "launcher", 60, starting=False)
    (claimed,) = await store.claim(claim)

    for wrong in (0, claimed.fence + 1):
        with pytest.raises(JobNotClaimableError, match=f"at fence 1; the fence given is {wrong}"):
            await halve.execute_from_database(job_id, fence=wrong)
    with pytest.raises(JobNotClaimableError, match="it is running"):
        await halve.execute_from_database(job_id)

    assert (await halve.execute_from_database(job_id, fence=claimed.fence)).ok
    with pytest.raises(JobNotClaimableError, match="or it has begun"):
        await halve.execute_from_database(job_id, fence=claimed.fence)
    assert (await halve.get(job_id)).attempt_count == 1


async def test_of_two_that_take_up_one_claim_the_second_is_refused(
    halve: Job[Number, Number], store: Store
) -> None:
    job_id = await halve.later({"value": 4})
    await store.claim(ClaimRequest("default", ["Halve"], 1, "launcher", 60, starting=False))

    answers = await asyncio.gather(
        *(halve.execute_from_database(job_id, fence=1) for _ in range(4)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, JobNotClaimableError)]
    assert len(refused) == 3


async def test_of_many_that_claim_one_job_one_gets_it(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})

    answers = await asyncio.gather(
        *(halve.execute_from_database(job_id) for _ in range(8)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, JobNotClaimableError)]
    assert len(refused) == 7
    assert (await halve.get(job_id)).fence == 1


async def test_job_that_is_not_due_is_refused(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4}, delay=60)

    with pytest.raises(JobNotClaimableError, match=f"job {job_id} can't be .*: it is pending, due"):
        await halve.execute_from_database(job_id)


async def test_job_that_has_ended_is_refused(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})
    await halve.execute_from_database(job_id)

    with pytest.raises(JobNotClaimableError, match="it is completed"):
        await halve.execute_from_database(job_id)


async def test_job_of_another_name_is_refused(
    halve: Job[Number, Number], other: Job[Number, None]
) -> None:
    job_id = await other.later({"value": 4})

    with pytest.raises(JobNotClaimableError, match="is a Other, not a Halve"):
        await halve.execute_from_database(job_id)
    assert (await other.get(job_id)).status is JobStatus.PENDING


async def test_id_of_a_job_of_another_name_is_not_found(
    halve: Job[Number, Number], store: Store
) -> None:
    @define_job(name="Other")
    async def other(params: Number) -> Number:
        return params

    other.set_database(store.database)
    job_id = await halve.later({"value": 8})

    for call in (other.get, other.cancel, other.retry, other.wait):
        with pytest.raises(JobNotFoundError, match=f"no Other job {job_id}: it is a {halve.name}"):
            await call(job_id)
    assert (await halve.get(job_id)).status is JobStatus.PENDING


async def test_job_that_does_not_exist_is_not_found(halve: Job[Number, Number]) -> None:
    for call in (
        halve.execute_from_database(UNKNOWN),
        halve.get(UNKNOWN),
        halve.cancel(UNKNOWN),
        halve.retry(UNKNOWN),
        halve.wait(UNKNOWN),
    ):
        with pytest.raises(JobNotFoundError, match=f"there is no job {UNKNOWN}"):
            await call


@pytest.mark.parametrize("params", ['{"value": "x"}', "{}", "[]", "null", '{"value": 1.5}'])
async def test_params_that_no_longer_fit_fail_their_own_attempts(
    halve: Job[Number, Number], database: Database, params: str
) -> None:
    job_id = await halve.later({"value": 4})
    await change(database, job_id, params=params)

    result = await halve.execute_from_database(job_id)

    assert isinstance(result.error, JobFailedError)
    assert isinstance(result.error.__cause__, InvalidParamsError)
    row = await halve.get(job_id)
    assert (row.status, row.attempt_count) == (JobStatus.PENDING, 1)
    assert (row.error or "").startswith("Halve: params don't fit the schema")


async def test_retry_policy_in_the_row_goes_before_the_codes(
    halve: Job[Number, Number], database: Database
) -> None:
    job_id = await halve.later({"value": 3})
    await change(database, job_id, retry_policy=RetryPolicy.fixed(3_000).to_json())
    await halve.execute_from_database(job_id)

    row = await halve.get(job_id)
    assert row.scheduled_for - row.updated_at == timedelta(seconds=3_000)


async def test_retry_policy_in_the_row_that_makes_no_sense_is_the_default(
    halve: Job[Number, Number], database: Database
) -> None:
    job_id = await halve.later({"value": 3})
    await change(database, job_id, retry_policy='{"base_seconds": "soon"}')
    await halve.execute_from_database(job_id)

    row = await halve.get(job_id)
    assert row.status is JobStatus.PENDING
    assert row.scheduled_for - row.updated_at <= timedelta(seconds=RetryPolicy().base_seconds)


# ── wait ─────────────────────────────────────────────────────────────────────────────────────


async def test_wait_gives_the_typed_result_of_a_job_that_completes_meanwhile(
    halve: Job[Number, Number],
) -> None:
    job_id = await halve.later({"value": 4})
    waiting = asyncio.create_task(halve.wait(job_id, timeout=5))
    await asyncio.sleep(0.02)
    await halve.execute_from_database(job_id)

    result = await waiting

    assert result.data == Number(value=2)
    assert (result.metadata.status, result.metadata.attempt) == (JobStatus.COMPLETED, 1)
    assert result.metadata.duration_ms is not None


async def test_wait_gives_up_and_leaves_the_job_alone(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})

    with pytest.raises(WaitTimeoutError, match=rf"Halve {job_id} is still pending after 0\.05 s"):
        await halve.wait(job_id, timeout=0.05)
    with pytest.raises(WaitTimeoutError):
        await halve.wait(job_id, timeout=0)

    assert (await halve.get(job_id)).status is JobStatus.PENDING


async def test_wait_on_a_failed_job_has_its_error(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 3}, max_attempts=1)
    await halve.execute_from_database(job_id)

    result = await halve.wait(job_id)

    assert not result.ok
    assert result.metadata.status is JobStatus.FAILED
    with pytest.raises(JobFailedError, match=f"Halve {job_id} failed: 3 is odd") as caught:
        result.data  # noqa: B018
    assert (caught.value.job_name, caught.value.job_id) == ("Halve", job_id)


async def test_wait_on_a_cancelled_job_says_that_it_was(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 3})
    await halve.cancel(job_id)

    result = await halve.wait(job_id)

    assert isinstance(result.error, JobCancelledError)
    assert str(result.error) == f"Halve {job_id} cancelled: no reason given"


async def test_wait_on_a_result_that_no_longer_fits(
    halve: Job[Number, Number], database: Database
) -> None:
    job_id = await halve.later({"value": 4})
    await halve.execute_from_database(job_id)
    await change(database, job_id, result='{"half": 2}')

    result = await halve.wait(job_id)

    assert result.metadata.status is JobStatus.COMPLETED
    with pytest.raises(InvalidResultError, match="Halve: result don't fit"):
        result.data  # noqa: B018


async def test_result_of_nothing_is_nothing(other: Job[Number, None]) -> None:
    job_id = await other.later({"value": 4})
    await other.execute_from_database(job_id)

    assert (await other.wait(job_id)).ok
    assert (await other.get(job_id)).result == "null"


# ── cancel and retry ─────────────────────────────────────────────────────────────────────────


async def test_pending_job_is_cancelled_at_once(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})

    assert await halve.cancel(job_id) is JobStatus.CANCELLED
    assert await halve.cancel(job_id) is JobStatus.CANCELLED
    with pytest.raises(JobNotClaimableError, match="it is cancelled"):
        await halve.execute_from_database(job_id)


async def test_finished_job_stays_as_it_is(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})
    await halve.execute_from_database(job_id)
    before = await halve.get(job_id)

    assert await halve.cancel(job_id) is JobStatus.COMPLETED
    assert await halve.get(job_id) == before


async def test_failed_job_runs_again_with_all_its_attempts(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 3})
    for _ in range(2):
        await halve.execute_from_database(job_id)
    await halve.retry(job_id)

    row = await halve.get(job_id)
    assert (row.status, row.attempt_count, row.fence) == (JobStatus.PENDING, 0, 2)
    assert len(row.attempt_errors) == 2
    await halve.execute_from_database(job_id)
    assert (await halve.get(job_id)).attempt_count == 1


async def test_cancelled_job_runs_again(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})
    await halve.cancel(job_id)
    await halve.retry(job_id)

    assert (await halve.execute_from_database(job_id)).ok


async def test_job_that_has_not_failed_is_not_run_again(halve: Job[Number, Number]) -> None:
    job_id = await halve.later({"value": 4})
    with pytest.raises(JobNotRetryableError, match="is pending: only failed and cancelled"):
        await halve.retry(job_id)
    await halve.execute_from_database(job_id)
    with pytest.raises(JobNotRetryableError, match="is completed: only failed and cancelled"):
        await halve.retry(job_id)


async def test_job_whose_key_is_taken_is_not_run_again(halve: Job[Number, Number]) -> None:
    first = await halve.later({"value": 4}, unique_key="k")
    await halve.cancel(first)
    second = await halve.later({"value": 4}, unique_key="k")

    with pytest.raises(JobNotRetryableError, match="a live Halve job has its unique key 'k'"):
        await halve.retry(first)
    assert (await halve.get(second)).status is JobStatus.PENDING


async def test_progress_of_an_attempt_that_goes_round_is_kept_until_the_next(
    database: Database,
) -> None:
    seen: list[JobRecord] = []

    @define_job(name="Report", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
    async def report(params: None, context: JobContext) -> None:
        assert context.job_id is not None
        seen.append(await report.get(context.job_id))
        await context.update_progress(60, "more than half")
        raise Stuck

    report.set_database(database)
    job_id = await report.later(None)
    await report.execute_from_database(job_id)
    row = await report.get(job_id)
    await report.execute_from_database(job_id)

    assert (row.status, row.progress) == (JobStatus.PENDING, 60)
    assert (seen[1].progress, seen[1].progress_message) == (0, None)
    assert seen[1].attempt_count == 2
