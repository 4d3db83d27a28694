"""Everything through a real pgbouncer, in each of its pool modes."""

import asyncio
import json
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from server_jobs import Job, JobContext, JobStatus, connect, define_job
from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.migrate import migrate
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.servers.pgbouncer import pgbouncer
from tests.support.servers.strange import Place, everything_works
from tests.support.workers import make_worker, registry_of, until, until_status, working

OFTEN = 8
"""psycopg prepares a statement that has run five times."""

WORKS = [
    pytest.param("session", "", id="session"),
    pytest.param("session", "&pgbouncer=true", id="session, with the option"),
    pytest.param("transaction", "", id="transaction, without the option"),
    pytest.param("transaction", "&pgbouncer=true", id="transaction"),
]
MISS = Statement(
    text("UPDATE cron_jobs SET next_run_at = next_run_at - interval '1 day' RETURNING name")
)
PREPARED = Statement(text("SELECT count(*) FROM pg_prepared_statements"))


class Steps(BaseModel):
    """How long to work, and what to answer."""

    answer: int = 0
    endless: bool = False


def stepping(database: Database) -> Job[Steps, int]:
    @define_job(name="Stepping")
    async def step(params: Steps, context: JobContext) -> int:
        await context.update_progress(50, "half-way")
        if params.endless:
            await asyncio.Event().wait()
        return params.answer

    step.set_database(database)
    return step


@pytest.fixture
def url(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """The URL of a pgbouncer in this mode, with this option."""
    mode, option = request.param
    # In session mode each connection needs a session of its own: pools and listeners.
    with pgbouncer(postgres_url, mode, sessions=3 if mode == "transaction" else 60) as pooled:
        yield f"{pooled}{option}"


def with_urls(*cases: object) -> pytest.MarkDecorator:
    marked = [pytest.param(case.values, id=case.id) for case in cases]  # type: ignore[attr-defined]
    return pytest.mark.parametrize("url", marked, indirect=True)


@with_urls(*WORKS)
async def test_everything_works(url: str) -> None:
    await everything_works(Place(url, url, "postgres", None))


@with_urls(*WORKS)
async def test_a_worker_works_reports_cancels_and_fires(url: str) -> None:
    migrate(url)
    database, callers = connect(url), connect(url)
    store = Store(callers)
    step = stepping(callers)
    scheduled = stepping(database)
    registry = registry_of(database, scheduled)
    registry.schedule(scheduled, "0 4 * * *", name="nightly", params=Steps(answer=7))
    async with working(make_worker(database, registry, poll_interval=0.2)):
        waits = [step.wait(await step.later(Steps(answer=n)), timeout=20) for n in range(20)]
        assert [answer.data for answer in await asyncio.gather(*waits)] == list(range(20))

        endless = await step.later(Steps(endless=True))

        async def half_way() -> bool:
            return (await step.get(endless)).progress == 50

        await until(half_way, "the progress is written")
        await store.cancel(endless)
        await until_status(store, endless, JobStatus.CANCELLED)

        # Its fire time of last night is made up for.
        (missed,) = await callers.execute(MISS)
        assert missed == ("nightly",)

        async def fired() -> bool:
            jobs = await store.list_jobs(limit=100)
            return any(job.cron_job_id and job.status is JobStatus.COMPLETED for job in jobs)

        await until(fired, "the schedule has fired")
    await database.close()
    await callers.close()


@with_urls(*WORKS)
async def test_behind_a_pooler_nothing_is_prepared(url: str) -> None:
    """Another client's statement may have the same name on the session that comes next."""
    migrate(url)
    database = connect(f"{url}&pool_size=1")
    for _ in range(OFTEN):
        await Store(database).stage()

    assert await database.execute(PREPARED) == [(0,)]
    await database.close()


@with_urls(*WORKS)
@pytest.mark.usefixtures("process_state")
def test_doctor_says_how_workers_are_woken(url: str) -> None:
    cli = Cli(database_url=url)
    cli.ok("migrate")

    findings = json.loads(cli("doctor", "--json").stdout)

    assert not [finding for finding in findings if finding["level"] == "fail"]
    (notify,) = [finding for finding in findings if finding["check"] == "notify"]
    if "pgbouncer=true" in url:
        assert notify["level"] == "ok"
        assert "workers poll" in notify["text"]


STATEMENT_MODE = r"set pool_mode = transaction .* pgbouncer=true .* or set pool_mode = session"
OPTIONS = r"unsupported startup parameter: options: .* ALTER ROLE"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param(("statement", ""), STATEMENT_MODE, id="statement"),
        pytest.param(("statement", "&pgbouncer=true"), STATEMENT_MODE, id="statement, option"),
        pytest.param(
            ("transaction", "&pgbouncer=true&options=-c%20lock_timeout%3D5s"), OPTIONS, id="options"
        ),
    ],
    indirect=["url"],
)
@pytest.mark.usefixtures("process_state")
async def test_what_pgbouncer_refuses_is_one_error_with_the_way_out(
    url: str, postgres_url: str, says: str
) -> None:
    with pytest.raises(DatabaseUnavailableError, match=says):
        migrate(url)
    migrate(postgres_url)
    database = connect(url)
    with pytest.raises(DatabaseUnavailableError, match=says):
        await stepping(database).later(Steps())
    with pytest.raises(DatabaseUnavailableError, match=says):
        await make_worker(database, registry_of(database, stepping(database))).run_until_stopped()
    await database.close()

    cli = Cli(database_url=url)
    for command in ("list", "doctor", "migrate"):
        result = await asyncio.to_thread(cli, command)
        assert result.exit_code != 0
        assert "Traceback" not in result.output
        assert re.search(says, " ".join(result.output.split())), command
