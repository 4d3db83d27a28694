"""Runner processes: one leased job each, as a pod runs it."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from server_jobs import Job, JobContext, JobStatus, create_job_registry, define_job
from server_jobs.database import Database
from server_jobs.launches import watchdog
from server_jobs.launches.end_request import EndRequest
from server_jobs.launches.launch import SCHEMA_MISMATCH_STATUS
from server_jobs.launches.runner import Ending, Runner, RunnerConfig
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim, JobRecord
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.store import Store
from tests.support.databases.faulty import Fault, FaultyDatabase, settles
from tests.support.databases.pass_through import PassingDatabase
from tests.support.processes.app import (
    Task,
    blocking,
    deaf,
    events,
    failing,
    listening,
    open_gate,
    quick,
    registry,
    stuck,
)
from tests.support.processes.runner import RunnerProcess, runner_process
from tests.support.workers import until, until_status

LAUNCHER = "k8s/install/default/runner"


@pytest.fixture(autouse=True)
def enqueue_here(database: Database) -> None:
    registry.bind(database)


async def launched(store: Store, job: Job[Task, int], lease_seconds: float = 300) -> Claim:
    """A job that a launcher has claimed for a process to come."""
    job_id = await job.later(Task(n=7))
    (claimed,) = await store.claim(
        ClaimRequest("default", None, 1, LAUNCHER, lease_seconds, starting=False)
    )
    assert claimed.id == job_id
    return claimed.claim


def happened(folder: Path, what: str) -> Callable[[], bool]:
    return lambda: what in [event.what for event in events(folder)]


def logged(process: RunnerProcess) -> list[str]:
    return [json.loads(line)["event"] for line in process.log.splitlines()]


async def test_a_runner_executes_its_job_settles_it_and_ends_well(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, quick)

    with runner_process(tmp_path, migrated_url, claim, "--worker-id", f"{LAUNCHER}/pod") as runner:
        assert runner.wait() == 0

    record = await store.get(claim.job_id)
    assert (record.status, record.result) == (JobStatus.COMPLETED, "7")
    assert (record.worker_id, record.fence, record.attempt_count) == (f"{LAUNCHER}/pod", 1, 1)
    assert record.handler_started_at is not None
    assert any("began, attempt 1" in line for line in logged(runner))


async def test_a_runner_logs_a_failed_attempt_with_the_handlers_traceback(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, failing)

    with runner_process(tmp_path, migrated_url, claim) as runner:
        assert runner.wait() == 0

    told = [json.loads(line) for line in runner.log.splitlines()]
    (failure,) = [line for line in told if line["level"] == "warning"]
    assert "attempt 1 of 2, again in 60.0 s, 1 attempt left: there is no task 7" in failure["event"]
    begin, first, _, *_ = failure["traceback"].splitlines()
    assert begin == "Traceback (most recent call last):"
    assert first.endswith("in failing")
    (stored,) = (await store.get(claim.job_id)).attempt_errors
    assert stored.traceback == failure["traceback"]


async def test_the_second_process_of_a_launch_does_nothing(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, listening)
    with runner_process(tmp_path, migrated_url, claim) as first:
        await until(happened(tmp_path, "began"), "the first one has begun")
        with runner_process(tmp_path, migrated_url, claim) as second:
            assert second.wait() == 0
        open_gate(tmp_path, attempt=1)
        assert first.wait() == 0

    assert [event.what for event in events(tmp_path)] == ["began", "ended"]
    assert "nothing to do under fence 1" in second.log
    assert (await store.get(claim.job_id)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("fence", [0, 2])
async def test_a_process_of_another_claim_does_nothing(
    migrated_url: str, store: Store, tmp_path: Path, fence: int
) -> None:
    claim = await launched(store, quick)
    before = await store.get(claim.job_id)

    with runner_process(tmp_path, migrated_url, Claim(claim.job_id, fence)) as runner:
        assert runner.wait() == 0

    assert await store.get(claim.job_id) == before


async def test_a_record_that_is_gone_or_over_is_nothing_to_do(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    gone = Claim("01a20c20-0000-7000-8000-000000000000", 1)
    over = await launched(store, quick)
    with runner_process(tmp_path, migrated_url, over) as runner:
        runner.wait()
    before = await store.get(over.job_id)

    for claim, says in ((gone, "it is gone"), (over, "it is completed")):
        with runner_process(tmp_path, migrated_url, claim) as runner:
            assert runner.wait() == 0
        assert f"nothing to do, {says}" in runner.log

    assert await store.get(over.job_id) == before


async def test_a_job_that_the_image_does_not_know_costs_a_launch_and_no_attempt(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, quick)

    app = "tests.support.cli_app:registry"
    with runner_process(tmp_path, migrated_url, claim, app=app) as runner:
        assert runner.wait() == 0

    record = await store.get(claim.job_id)
    assert (record.status, record.attempt_count, record.launch_failures) == (
        JobStatus.PENDING,
        0,
        1,
    )
    (error,) = record.attempt_errors
    assert error.type == "unknown_job"
    assert "there is no job 'Quick' in the registry" in error.message


async def test_an_app_that_cannot_be_imported_costs_a_launch_and_says_why(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, quick)

    with runner_process(tmp_path, migrated_url, claim, app="no_such_module:registry") as runner:
        assert runner.wait() == 0

    (error,) = (await store.get(claim.job_id)).attempt_errors
    assert error.type == "app_not_loaded"
    assert "no_such_module" in error.message


async def test_an_app_that_raises_is_logged_with_its_own_traceback(
    migrated_url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_broken_app.py").write_text("raise RuntimeError('no settings')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    claim = await launched(store, quick)

    with runner_process(tmp_path, migrated_url, claim, app="users_broken_app:registry") as runner:
        assert runner.wait() == 0

    told = [json.loads(line) for line in runner.log.splitlines()]
    (failure,) = [line for line in told if line["level"] == "error"]
    assert "users_broken_app.py" in failure["traceback"].splitlines()[1]
    (stored,) = (await store.get(claim.job_id)).attempt_errors
    assert stored.traceback == failure["traceback"]


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("tests.support.cli_app:registry", "unknown_job"),
        ("no_such_module:registry", "app_not_loaded"),
        ("tests.support.processes.edge_only_app:registry", "runs_elsewhere"),
    ],
)
async def test_a_launch_too_many_fails_the_job_whatever_its_image_lacks(
    migrated_url: str, store: Store, tmp_path: Path, app: str, reason: str
) -> None:
    claim = await launched(store, quick)

    options = ("--max-launch-failures", "1")
    with runner_process(tmp_path, migrated_url, claim, *options, app=app) as runner:
        assert runner.wait() == 0

    record = await store.get(claim.job_id)
    assert (record.status, record.launch_failures) == (JobStatus.FAILED, 1)
    assert [error.type for error in record.attempt_errors] == [reason]


async def test_how_many_launches_may_fail_comes_from_the_environment_too(
    migrated_url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await launched(store, quick)

    monkeypatch.setenv("SERVER_JOBS_MAX_LAUNCH_FAILURES", "1")
    with runner_process(tmp_path, migrated_url, claim, app="no_such_module:registry") as runner:
        assert runner.wait() == 0

    assert (await store.get(claim.job_id)).status is JobStatus.FAILED


async def test_a_limit_below_one_is_refused(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, quick)

    options = ("--max-launch-failures", "0")
    with runner_process(tmp_path, migrated_url, claim, *options) as runner:
        assert runner.wait() == 2

    assert "max_launch_failures is 0" in runner.log


@pytest.mark.parametrize("app", ["tests.support.processes.app:registry", "no_such_module:registry"])
@pytest.mark.parametrize(
    ("columns", "says"),
    [({"oldest_code": 99}, "upgrade server-jobs"), ({"version": 0}, "run `server-jobs migrate`")],
    ids=["too new", "too old"],
)
async def test_tables_of_another_release_are_left_alone_and_the_launcher_is_told(
    migrated_url: str,
    store: Store,
    tmp_path: Path,
    columns: dict[str, int],
    says: str,
    app: str,
) -> None:
    claim = await launched(store, quick)
    before = await store.get(claim.job_id)
    changed = store.database.tables.info.update().values(**columns)
    await store.database.execute(Statement(changed))

    with runner_process(tmp_path, migrated_url, claim, app=app) as runner:
        assert runner.wait() == SCHEMA_MISMATCH_STATUS == 78

    assert says in runner.log
    assert await store.get(claim.job_id) == before


async def test_lines_say_which_claim_they_are_about(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, quick)
    with runner_process(tmp_path, migrated_url, claim, "--log-format", "json") as runner:
        assert runner.wait() == 0

    (began,) = [
        line for line in map(json.loads, runner.log.splitlines()) if "began" in line["event"]
    ]
    assert (began["job_id"], began["fence"]) == tuple(claim)


@pytest.mark.parametrize("job", [deaf, blocking], ids=lambda job: job.name)
async def test_a_handler_that_blocks_keeps_its_lease(
    migrated_url: str, store: Store, tmp_path: Path, job: Job[Task, int]
) -> None:
    claim = await launched(store, job)
    with runner_process(tmp_path, migrated_url, claim, "--lease", "1.5") as runner:
        await until(happened(tmp_path, "began"), "it has begun")
        first = (await store.get(claim.job_id)).worker_expires_at

        async def renewed_twice() -> bool:
            expires = (await store.get(claim.job_id)).worker_expires_at
            assert first is not None
            assert expires is not None
            return (expires - first).total_seconds() > 0.9

        await until(renewed_twice, "the lease was renewed, twice")
        assert await store.rescue() == {}
        open_gate(tmp_path, attempt=1)
        assert runner.wait() == 0

    assert (await store.get(claim.job_id)).status is JobStatus.COMPLETED


async def test_sigterm_interrupts_the_handler_and_gives_the_job_back(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, listening)
    with runner_process(tmp_path, migrated_url, claim) as runner:
        await until(happened(tmp_path, "began"), "it has begun")
        runner.send(signal.SIGTERM)
        assert runner.wait() == 0

    record = await store.get(claim.job_id)
    assert given_back(record)
    assert [event.what for event in events(tmp_path)] == ["began", "interrupted"]


@pytest.mark.parametrize("job", [deaf, blocking], ids=lambda job: job.name)
async def test_what_does_not_stop_is_left_and_its_job_given_back(
    migrated_url: str, store: Store, tmp_path: Path, job: Job[Task, int]
) -> None:
    claim = await launched(store, job)
    with runner_process(tmp_path, migrated_url, claim, "--grace", "0.5") as runner:
        await until(happened(tmp_path, "began"), "it has begun")
        runner.send(signal.SIGTERM)
        assert runner.wait() == 0

    assert given_back(await store.get(claim.job_id))
    assert "leaving without it" in runner.log


async def test_a_time_limit_holds_even_where_the_handler_blocks_its_loop(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, stuck)
    with runner_process(tmp_path, migrated_url, claim, "--grace", "0.5") as runner:
        assert runner.wait() == 0

    record = await store.get(claim.job_id)
    assert record.status is JobStatus.FAILED
    assert [error.type for error in record.attempt_errors] == ["timed_out"]


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses with which a watchdog left, while the test's own process goes on."""
    statuses: list[int] = []
    # Not os._exit: leave_now sets a deadline in C as well, which would end the tests' process.
    monkeypatch.setattr(watchdog, "leave_now", statuses.append)
    return statuses


@define_job(name="Prompt", timeout=0.3)
async def prompt(params: Task) -> int:
    """Over long before its time limit."""
    return params.n


def runner_of_prompt(
    database: Database, claim: Claim, end_request: EndRequest | None = None
) -> Runner:
    """A runner in this process that leaves soon after it was asked to."""
    jobs = create_job_registry().register(prompt)
    config = RunnerConfig(f"{LAUNCHER}/pod", grace=0.1)
    return Runner(
        database, claim, load_registry=lambda: jobs, config=config, end_request=end_request
    )


async def launched_prompt(database: Database, store: Store) -> Claim:
    create_job_registry().register(prompt).bind(database)
    return await launched(store, prompt)


async def test_the_time_limit_is_the_handlers_and_not_that_of_writing_its_outcome(
    database: Database, store: Store, exits: list[int]
) -> None:
    claim = await launched_prompt(database, store)
    faulty = FaultyDatabase(database)
    began = time.monotonic()

    def away(statements: Sequence[Statement]) -> Fault | None:
        over = time.monotonic() - began > 1.2
        return None if over or not any(map(settles, statements)) else Fault.BEFORE

    faulty.plan = away

    assert await runner_of_prompt(faulty, claim).run() is Ending.SETTLED

    assert faulty.faults > 0
    assert exits == []
    assert (await store.get(claim.job_id)).status is JobStatus.COMPLETED


async def test_a_runner_that_is_stopped_once_its_handler_has_ended_writes_that_outcome(
    database: Database, store: Store, exits: list[int]
) -> None:
    claim = await launched_prompt(database, store)
    faulty = FaultyDatabase(database)
    end_request = EndRequest()
    ours = threading.current_thread()

    def away_from_us(statements: Sequence[Statement]) -> Fault | None:
        mine = threading.current_thread() is ours and any(map(settles, statements))
        end_request.asked |= mine
        return Fault.BEFORE if mine and not exits else None

    faulty.plan = away_from_us

    await runner_of_prompt(faulty, claim, end_request).run()

    assert exits == [0]
    assert (await store.get(claim.job_id)).status is JobStatus.COMPLETED


async def test_a_runner_whose_task_is_cancelled_gives_the_job_back_and_is_cancelled(
    database: Database, store: Store
) -> None:
    begun = asyncio.Event()

    @define_job(name="Endless")
    async def endless(params: Task) -> int:
        begun.set()
        await asyncio.Event().wait()
        return params.n

    jobs = create_job_registry().register(endless)
    jobs.bind(database)
    claim = await launched(store, endless)
    config = RunnerConfig(f"{LAUNCHER}/pod")
    runner = Runner(database, claim, load_registry=lambda: jobs, config=config)
    run = asyncio.create_task(runner.run())
    await begun.wait()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    record = await store.get(claim.job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 0)
    assert record.attempt_errors == []


class CountingDatabase(PassingDatabase):
    """Passes everything on, and counts who asks what shall be cancelled."""

    looks = 0

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        self.looks += any(statement.values.keys() == {"worker_id"} for statement in statements)
        return await super()._run(statements)


async def test_a_pod_looks_for_cancellations_now_and_then_and_reports_progress_at_once(
    database: Database, store: Store
) -> None:
    progress: list[float | None] = []

    @define_job(name="Reporting")
    async def reporting(params: Task, context: JobContext) -> int:
        await context.update_progress(40)
        await asyncio.sleep(1.7)
        progress.append((await store.get(str(context.job_id))).progress)
        return 1

    jobs = create_job_registry().register(reporting)
    jobs.bind(database)
    claim = await launched(store, reporting)
    counting = CountingDatabase(database)

    ending = await Runner(
        counting, claim, load_registry=lambda: jobs, config=RunnerConfig(f"{LAUNCHER}/pod")
    ).run()

    assert ending is Ending.SETTLED
    assert progress == [40]
    assert counting.looks == 0


async def test_a_cancelled_job_ends_as_cancelled(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, listening)
    with runner_process(tmp_path, migrated_url, claim) as runner:
        await until(happened(tmp_path, "began"), "it has begun")
        await store.cancel(claim.job_id)
        await until_status(store, claim.job_id, JobStatus.CANCELLED)
        assert runner.wait() == 0

    assert "interrupted" in [event.what for event in events(tmp_path)]


async def test_a_runner_frozen_beyond_its_lease_writes_nothing(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, listening)
    with runner_process(tmp_path, migrated_url, claim, "--lease", "1") as runner:
        await until(happened(tmp_path, "began"), "it has begun")
        runner.send(signal.SIGSTOP)

        async def rescued() -> bool:
            return bool(await store.rescue())

        await until(rescued, "its lease has expired")
        taken = await store.get(claim.job_id)
        runner.send(signal.SIGCONT)
        assert runner.wait() == 1

    assert await store.get(claim.job_id) == taken
    assert "its lease was lost" in runner.log


async def test_a_killed_runner_loses_its_attempt_when_its_lease_expires(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    claim = await launched(store, listening)
    with runner_process(tmp_path, migrated_url, claim, "--lease", "1") as runner:
        await until(happened(tmp_path, "began"), "it has begun")
        runner.send(signal.SIGKILL)
        runner.wait()

    async def rescued() -> bool:
        return bool(await store.rescue())

    await until(rescued, "its lease has expired")
    record = await store.get(claim.job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 1)


async def test_without_a_database_url_it_says_how_a_pod_gets_one(
    store: Store, tmp_path: Path
) -> None:
    with runner_process(tmp_path, "", Claim("a", 1)) as runner:
        assert runner.wait() == 2

    assert "SERVER_JOBS_DATABASE_URL is not set: a pod gets it from a Secret" in runner.log


def given_back(record: JobRecord) -> bool:
    return (record.status, record.attempt_count, record.release_count) == (JobStatus.PENDING, 0, 1)
