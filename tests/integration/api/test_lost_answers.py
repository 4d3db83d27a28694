"""What callers of ``now`` and ``execute_from_database`` get when settling goes wrong."""

import pytest

from server_jobs import JobStatus, connect, define_job
from server_jobs.migrate import migrate
from tests.support.databases.faulty import Fault, FaultyDatabase, settles
from tests.support.databases.raw_sql import refuse

RUNS: list[int] = []


@define_job(name="Double", max_attempts=5)
async def double(params: int) -> int:
    RUNS.append(params)
    return params * 2


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_completion_whose_answer_is_lost_is_the_callers_all_the_same(
    migrated_url: str, fault: Fault
) -> None:
    database = FaultyDatabase(connect(migrated_url))
    double.set_database(database)
    RUNS.clear()
    database.break_once(fault, when=settles)

    result = await double.now(21)

    assert (result.data, RUNS, database.faults) == (42, [21], 1)
    record = await double.get(result.metadata.job_id or "")
    assert (record.status, record.result) == (JobStatus.COMPLETED, "42")
    await database.close()


async def test_a_result_that_the_database_refuses_fails_its_job_at_once(
    database_url: str,
) -> None:
    migrate(database_url)
    database = connect(database_url)
    double.set_database(database)
    await refuse(database, "NEW.result = '42'")
    job_id = await double.later(21)

    result = await double.execute_from_database(job_id)

    assert "the outcome can't be stored" in str(result.error)
    assert result.metadata.status is JobStatus.FAILED
    assert (await double.get(job_id)).status is JobStatus.FAILED
    await database.close()
