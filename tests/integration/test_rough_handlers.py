"""Handlers that do to their process what they shouldn't: the attempt fails, the others go on."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server_jobs import (
    CancelJob,
    JobContext,
    JobFailedError,
    JobRecord,
    JobStatus,
    PermanentError,
    RetryLater,
    connect,
    define_job,
)
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from server_jobs.store.store import Store
from tests.support.processes.rough_app import ROUGH, Own, good, registry, rough_job
from tests.support.processes.runner import runner_process
from tests.support.processes.worker import worker_process
from tests.support.workers import (
    Number,
    make_worker,
    registry_of,
    until,
    until_status,
    working,
)

APP = "tests.support.processes.rough_app:registry"
COMPLETE = {"cancels_itself_and_returns", "exits_in_a_thread_of_its_own"}
WAIT = {name for name in ROUGH if name.startswith("turns_its_end")}
SAYS = {
    "exits_in_a_task": "a task or callback of the handler called sys.exit(0); a job ends by",
    "exits_in_a_task_that_it_awaits": "of the handler called sys.exit(3)",
    "parses_arguments_in_gather": "of the handler called sys.exit(2)",
    "exits_in_a_task_group": "of the handler called sys.exit(0)",
    "exits_in_a_callback": "of the handler called sys.exit()",
    "interrupts_in_a_task": "of the handler raised KeyboardInterrupt",
    "interrupts": "KeyboardInterrupt",
    "raises_its_own_in_a_task": "of its own",
    "stops_the_loop": "a handler can't call stop() of the event loop",
    "shuts_the_executor_down": "a handler can't call shutdown_default_executor()",
    "cancels_all_tasks": "a handler can't cancel the task '",
    "cancels_all_other_tasks": "a handler can't cancel the task '",
    "closes_stderr": "with stderr closed",
    "closes_the_descriptor_of_stderr": "with descriptor 2 closed",
    "takes_stdout_and_stderr_away": "with neither",
    "silences_logging": "in silence",
    "exits_on_a_thread": "the handler called sys.exit(5)",
    "interrupts_on_a_thread": "the handler raised KeyboardInterrupt on its thread",
}


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Store:
    migrate(sqlite_url)
    return Store(connect(sqlite_url))


def assert_failed_as(record: JobRecord, what: str) -> None:
    assert record.status is JobStatus.FAILED, what
    (failed,) = record.attempt_errors
    assert SAYS[what] in failed.message
    # Nothing of ours was called where the event loop itself calls sys.exit.
    assert "rough_app.py" in failed.traceback or what == "exits_in_a_callback"


# ── server-jobs worker ───────────────────────────────────────────────────────────────────────


async def test_worker_fails_each_rough_attempt_and_serves_all_others(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    registry.bind(store.database)
    ids = {what: await rough_job(what).later(what) for what in ROUGH if what not in WAIT}
    innocent = await good.later_many(list(range(30)))

    options = ("--drain", "--concurrency", "50")
    with worker_process(tmp_path, migrated_url, *options, app=APP) as worker:
        assert worker.wait() == 0, worker.log

    for job_id in innocent:
        record = await store.get(job_id)
        assert (record.status, record.attempt_count) == (JobStatus.COMPLETED, 1)
    for what, job_id in ids.items():
        record = await store.get(job_id)
        if what in COMPLETE:
            assert record.status is JobStatus.COMPLETED
        else:
            assert_failed_as(record, what)
            assert f"job {job_id} (" in worker.log
            assert json.dumps(record.error)[1:-1] in worker.log


@pytest.mark.parametrize("what", sorted(WAIT))
async def test_terminated_worker_gives_back_what_fails_because_it_was_interrupted(
    migrated_url: str, store: Store, tmp_path: Path, what: str
) -> None:
    registry.bind(store.database)
    job_id = await rough_job(what).later(what)
    with worker_process(tmp_path, migrated_url, "--grace", "0.1", app=APP) as worker:
        await until(lambda: bool(list(tmp_path.glob("began-*"))), "the handler has begun")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.log

    record = await store.get(job_id)
    assert (record.status, record.attempt_count, record.release_count) == (JobStatus.PENDING, 0, 1)
    assert record.errors == "[]"
    assert "released; asked to stop, its handler raised " in worker.log


# ── server-jobs run ──────────────────────────────────────────────────────────────────────────


async def launched(store: Store, what: str) -> Claim:
    registry.bind(store.database)
    await rough_job(what).later(what)
    request = ClaimRequest("default", None, 1, "k8s/install/default/runner", 300, starting=False)
    (claimed,) = await store.claim(request)
    return claimed.claim


@pytest.mark.parametrize(
    "what",
    [
        "exits_in_a_task",
        "exits_in_a_task_that_it_awaits",
        "interrupts",
        "stops_the_loop",
        "cancels_all_tasks",
        "closes_stderr",
        "silences_logging",
        "exits_on_a_thread",
    ],
)
async def test_pod_settles_its_rough_attempt_and_says_how(
    sqlite_url: str, sqlite_store: Store, tmp_path: Path, what: str
) -> None:
    claim = await launched(sqlite_store, what)

    with runner_process(tmp_path, sqlite_url, claim, app=APP) as runner:
        assert runner.wait() == 0, runner.log

    record = await sqlite_store.get(claim.job_id)
    assert_failed_as(record, what)
    assert json.dumps(record.error)[1:-1] in runner.log


async def test_terminated_pod_gives_back_what_fails_because_it_was_interrupted(
    sqlite_url: str, sqlite_store: Store, tmp_path: Path
) -> None:
    claim = await launched(sqlite_store, "turns_its_end_into_a_group")

    with runner_process(tmp_path, sqlite_url, claim, app=APP) as runner:
        await until(lambda: bool(list(tmp_path.glob("began-*"))), "the handler has begun")
        runner.send(signal.SIGTERM)
        assert runner.wait() == 0, runner.log

    record = await sqlite_store.get(claim.job_id)
    assert (record.status, record.attempt_count, record.release_count) == (JobStatus.PENDING, 0, 1)
    assert "released; asked to stop, its handler raised " in runner.log


# ── in the process of a program ──────────────────────────────────────────────────────────────


async def stop_running(
    database: Database,
    raised: BaseException,
    how: Callable[[str], Awaitable[None]],
    *,
    timeout: float | None = None,
) -> JobRecord:
    """Run a handler that raises something when it is asked to stop, as ``how`` does it → its row.

    ``how`` is given the id of the job. The worker stops after that, without a grace period.
    """
    began = asyncio.Event()

    @define_job(name="Stopped", max_attempts=1, timeout=timeout)
    async def stopped(params: Number) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise raised from None

    worker = make_worker(database, registry_of(database, stopped), grace=0)
    job_id = await stopped.later(Number())
    async with working(worker):
        await asyncio.wait_for(began.wait(), 10)
        await how(job_id)
    return await Store(database).get(job_id)


RAISED = {
    "a driver's error": ConnectionError("closed"),
    "a group": ExceptionGroup("two", [ConnectionError("closed"), OSError("gone")]),
    "no Exception": Own("interrupted"),
    "sys.exit()": SystemExit(0),
    "RuntimeError": RuntimeError("the loop is closed"),
}


@pytest.mark.parametrize("raised", RAISED.values(), ids=RAISED.keys())
async def test_stopped_worker_gives_a_job_back_whatever_its_handler_makes_of_it(
    database: Database, raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="server_jobs.worker")

    async def stop(job_id: str) -> None:
        pass

    record = await stop_running(database, raised, stop)

    assert (record.status, record.attempt_count, record.errors) == (JobStatus.PENDING, 0, "[]")
    (line,) = [line for line in caplog.records if "released" in line.getMessage()]
    assert "asked to stop, its handler raised " in line.getMessage()
    assert "in stopped" in vars(line)["traceback"]


@pytest.mark.parametrize("raised", RAISED.values(), ids=RAISED.keys())
async def test_timeout_stays_a_timeout_whatever_the_handler_makes_of_it(
    database: Database, raised: BaseException
) -> None:
    async def wait(job_id: str) -> None:
        await until_status(Store(database), job_id, JobStatus.FAILED)

    record = await stop_running(database, raised, wait, timeout=0.05)

    (failed,) = record.attempt_errors
    assert failed.type == "timed_out"
    assert "its timeout of 0.05 s; asked to stop, its handler raised " in failed.message
    assert "in stopped" in failed.traceback


@pytest.mark.parametrize(
    "raised", [*RAISED.values(), PermanentError("no"), RetryLater(5), CancelJob("withdrawn")]
)
async def test_cancelled_job_ends_as_cancelled_whatever_its_handler_makes_of_it(
    database: Database, raised: BaseException
) -> None:
    async def cancel(job_id: str) -> None:
        await Store(database).cancel(job_id)
        await until_status(Store(database), job_id, JobStatus.CANCELLED)

    record = await stop_running(database, raised, cancel)

    assert record.error is not None
    assert record.error.startswith("cancelled on request; asked to stop, its handler raised ")


@pytest.mark.parametrize(
    ("raised", "timeout", "status", "attempts"),
    [
        (PermanentError("half done"), None, JobStatus.FAILED, 1),
        (PermanentError("half done"), 0.05, JobStatus.FAILED, 1),
        (ExceptionGroup("", [PermanentError("half done")]), None, JobStatus.FAILED, 1),
        (CancelJob("withdrawn"), None, JobStatus.CANCELLED, 1),
        (CancelJob("withdrawn"), 0.05, JobStatus.CANCELLED, 1),
        (RetryLater(60, "half done"), None, JobStatus.PENDING, 0),
        (RetryLater(60, "half done"), 0.05, JobStatus.FAILED, 1),
    ],
)
async def test_handler_that_was_asked_to_stop_may_still_choose_its_end(
    database: Database,
    raised: BaseException,
    timeout: float | None,
    status: JobStatus,
    attempts: int,
) -> None:
    async def how(job_id: str) -> None:
        if timeout is not None:
            await until_status(Store(database), job_id, status)

    record = await stop_running(database, raised, how, timeout=timeout)

    assert (record.status, record.attempt_count) == (status, attempts)
    assert record.release_count == 0
    timed_out = timeout is not None and isinstance(raised, RetryLater)
    assert [error.type for error in record.attempt_errors] == (
        (["timed_out"] if timed_out else ["PermanentError"]) if status is JobStatus.FAILED else []
    )


def test_program_that_ends_gives_back_what_its_worker_runs(sqlite_url: str) -> None:
    migrate(sqlite_url)
    database = connect(sqlite_url)
    began = threading.Event()
    ids: list[str] = []

    @define_job(name="Endless", max_attempts=1)
    async def endless(params: Number) -> None:
        began.set()
        await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))

    async def program() -> None:
        worker = make_worker(database, registry_of(database, endless))
        working = asyncio.create_task(worker.run_until_stopped())
        ids.append(await endless.later(Number()))
        await until(began.is_set, "the handler has begun")
        assert not working.done()  # and it is left to asyncio.run, which cancels all tasks

    async def read() -> JobRecord:
        return await Store(database).get(ids[0])

    asyncio.run(program())

    record = asyncio.run(read())
    assert (record.status, record.attempt_count, record.release_count) == (JobStatus.PENDING, 0, 1)


async def test_execution_that_other_code_cancels_is_a_failed_attempt_at_once(
    database: Database,
) -> None:
    began = asyncio.Event()

    @define_job(name="Cancelled", max_attempts=1)
    async def cancelled(params: Number) -> None:
        began.set()
        await asyncio.sleep(60)

    worker = make_worker(database, registry_of(database, cancelled))
    job_id = await cancelled.later(Number())
    async with working(worker):
        await began.wait()
        (task,) = [each for each in asyncio.all_tasks() if each.get_name() == f"job {job_id}"]
        task.cancel()  # by the program, not by a handler
        await until_status(Store(database), job_id, JobStatus.FAILED)

    record = await Store(database).get(job_id)
    assert record.error == "its execution was cancelled, but nobody asked the handler to stop"


async def test_cancellation_that_a_handler_takes_back_leaves_it_what_it_raises_then(
    database: Database,
) -> None:
    began = asyncio.Event()

    @define_job(name="TakesItBack", max_attempts=3)
    async def takes_it_back(params: Number) -> None:
        task = asyncio.current_task()
        assert task is not None
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            task.uncancel()
        raise PermanentError("there is nothing to be had")

    worker = make_worker(database, registry_of(database, takes_it_back))
    job_id = await takes_it_back.later(Number())
    async with working(worker):
        await began.wait()
        (task,) = [each for each in asyncio.all_tasks() if each.get_name() == f"job {job_id}"]
        task.cancel()  # by the program, not by a handler
        await until_status(Store(database), job_id, JobStatus.FAILED)

    record = await Store(database).get(job_id)
    assert (record.error, record.attempt_count) == ("there is nothing to be had", 1)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("raised", [Own("of its own"), GeneratorExit("over"), SystemExit(2)])
async def test_now_records_at_once_what_is_no_exception(
    database: Database, raised: BaseException, plain: bool
) -> None:
    ids: list[Any] = []

    def plain_handler(params: Number, context: JobContext) -> None:
        ids.append(context.job_id)
        raise raised

    async def handler(params: Number, context: JobContext) -> None:
        plain_handler(params, context)

    either: Any = plain_handler if plain else handler
    job = define_job(name="Breaking", params_schema=Number, result_schema=Any, handler=either)
    job.set_database(database)

    with pytest.raises(JobFailedError, match="Breaking"):
        await job.now(Number())

    record = await Store(database).get(ids[0])
    assert (record.status, len(record.attempt_errors)) == (JobStatus.FAILED, 1)
    assert "in plain_handler" in record.attempt_errors[0].traceback


def test_keyboard_interrupt_in_now_is_recorded_and_reaches_the_caller(sqlite_url: str) -> None:
    migrate(sqlite_url)
    database = connect(sqlite_url)
    ids: list[Any] = []

    @define_job(name="Interrupted")
    async def interrupted(params: Number, context: JobContext) -> None:
        ids.append(context.job_id)
        raise KeyboardInterrupt

    async def read() -> JobRecord:
        return await Store(database).get(ids[0])

    interrupted.set_database(database)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupted.now(Number()))

    record = asyncio.run(read())
    assert (record.status, record.attempt_errors[0].type) == (
        JobStatus.FAILED,
        "KeyboardInterrupt",
    )


async def test_caller_that_is_cancelled_is_told_whatever_the_handler_makes_of_it(
    database: Database,
) -> None:
    began = asyncio.Event()
    ids: list[Any] = []

    @define_job(name="Wanted")
    async def wanted(params: Number, context: JobContext) -> None:
        ids.append(context.job_id)
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    wanted.set_database(database)
    calling = asyncio.create_task(wanted.now(Number()))
    await began.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert (await Store(database).get(ids[0])).status is JobStatus.CANCELLED


def test_keyboard_interrupt_in_a_programs_worker_is_recorded_and_ends_the_program(
    sqlite_url: str,
) -> None:
    """Here it may be a person's Ctrl-C, which hit the handler."""
    migrate(sqlite_url)
    database = connect(sqlite_url)
    ids: list[str] = []

    @define_job(name="Interrupted", max_attempts=1)
    async def interrupted(params: Number) -> None:
        raise KeyboardInterrupt

    async def program() -> None:
        worker = make_worker(database, registry_of(database, interrupted))
        ids.append(await interrupted.later(Number()))
        await worker.run_until_stopped()

    async def read() -> JobRecord:
        return await Store(database).get(ids[0])

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())

    record = asyncio.run(read())
    assert (record.status, record.attempt_errors[0].type) == (
        JobStatus.FAILED,
        "KeyboardInterrupt",
    )


LOOP_THAT_IS_CLOSED = """
import asyncio

from server_jobs.cli.own_loop import run_to_its_end


async def main():
    loop = asyncio.get_running_loop()
    loop.run_forever = loop.close  # as it is entered again
    loop.stop()
    await asyncio.sleep(60)


run_to_its_end(main())
"""


def test_process_whose_loop_is_closed_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOOP_THAT_IS_CLOSED], capture_output=True, text=True, timeout=20
    )

    assert ended.returncode == 1
    assert "Event loop is closed" in ended.stderr
    assert ended.stderr.count("something tried to end the event loop, which goes on") == 1
