"""Tables in a schema of their own and under a prefix: pods are told where they are."""

from collections.abc import Iterator

import psycopg
import pytest

from server_jobs import JobStatus
from server_jobs.store.store import Store
from tests.e2e.app.jobs import double
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import over, record_when
from tests.support.servers.postgres import PostgresServer, temporary_database


@pytest.fixture
def server_url(
    postgres: PostgresServer, shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An empty database, and the environment of whoever migrates it, enqueues and operates."""
    monkeypatch.setenv("SERVER_JOBS_SCHEMA", "tenant")
    monkeypatch.setenv("SERVER_JOBS_TABLE_PREFIX", "our_")
    with temporary_database(shared_url) as url:
        yield url


async def test_a_job_of_a_schema_of_its_own_is_completed_there(
    operator: OperatorProcess, namespace: Kubectl, store: Store, server_url: str
) -> None:
    job_id = await double.later({"n": 21})

    record = await record_when(store, job_id, over)

    assert (record.status, record.result) == (JobStatus.COMPLETED, "42")
    with psycopg.connect(server_url) as connection:
        found = connection.execute("SELECT status FROM tenant.our_jobs").fetchall()
    assert found == [("completed",)]
