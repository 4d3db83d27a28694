"""The local worker on real databases: what it executes, in which order, and how often."""

import asyncio
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam

from server_jobs import (
    JobContext,
    JobStatus,
    PermanentError,
    RetryLater,
    RetryPolicy,
    connect,
    define_job,
)
from server_jobs.database import Database
from server_jobs.records.outcomes import Completed
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import NewJob
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.store.store import Store
from tests.support.workers import (
    Number,
    drain,
    make_worker,
    registry_of,
    statuses,
    until,
    until_status,
    working,
)

AT_ONCE = RetryPolicy.fixed(0)

on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


async def test_drains_its_queue_and_ends(database: Database, store: Store) -> None:
    executed: Counter[int] = Counter()

    @define_job(name="Double")
    async def double(params: Number) -> int:
        executed[params.n] += 1
        return params.n * 2

    registry = registry_of(database, double)
    ids = await double.later_many([Number(n=n) for n in range(100)])

    totals = await drain(database, registry)

    assert executed == Counter(range(100))
    assert (totals.claimed, totals.completed) == (100, 100)
    for n, job_id in enumerate(ids):
        record = await store.get(job_id)
        assert (record.status, record.result) == (JobStatus.COMPLETED, str(n * 2))
        assert (record.attempt_count, record.fence, record.progress) == (1, 1, 100)


async def test_concurrency_is_reached_and_never_exceeded(database: Database, store: Store) -> None:
    gate = asyncio.Event()
    running = peak = 0

    @define_job(name="Wait")
    async def wait(params: Number) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await gate.wait()
        running -= 1

    worker = make_worker(database, registry_of(database, wait), concurrency=4, poll_interval=0.05)
    await wait.later_many([Number()] * 20)
    async with working(worker):
        await until(lambda: running == 4, "four jobs run")
        gate.set()

        async def all_completed() -> bool:
            return await statuses(store) == {JobStatus.COMPLETED: 20}

        await until(all_completed, "all jobs are completed")
    assert peak == 4


async def test_plain_handlers_run_beside_each_other(database: Database, store: Store) -> None:
    # Each waits for the other two: one after the other would never pass.
    barrier = threading.Barrier(3, timeout=10)

    @define_job(name="Meet")
    def meet(params: Number) -> int:
        return barrier.wait()

    registry = registry_of(database, meet)
    await meet.later_many([Number()] * 3)

    totals = await drain(database, registry, concurrency=3)

    assert totals.completed == 3


async def test_several_queues_take_turns(database: Database) -> None:
    order: list[str] = []

    @define_job(name="Note")
    async def note(params: Number, context: JobContext) -> None:
        order.append(str(context.correlation_id))

    registry = registry_of(database, note)
    for queue, count in {"flood": 30, "river": 30, "trickle": 1}.items():
        await note.later_many([Number()] * count, queue=queue, correlation_id=queue)

    await drain(database, registry, queues=["flood", "river", "trickle"], concurrency=1)

    assert Counter(order) == {"flood": 30, "river": 30, "trickle": 1}
    assert "trickle" in order[:3]
    assert Counter(order[:21]) == {"flood": 10, "river": 10, "trickle": 1}


async def test_urgent_jobs_go_first_and_equal_ones_in_order(database: Database) -> None:
    order: list[int] = []

    @define_job(name="Note")
    async def note(params: Number) -> None:
        order.append(params.n)

    registry = registry_of(database, note)
    for n, priority in enumerate([0, 5, -5, 5, 10, 0]):
        await note.later(Number(n=n), priority=priority)

    await drain(database, registry, concurrency=1)

    assert order == [4, 1, 3, 0, 5, 2]


async def test_wakes_for_a_job_that_somebody_else_enqueues(
    database: Database, migrated_url: str, record_property: Any
) -> None:
    began: asyncio.Queue[float] = asyncio.Queue()

    @define_job(name="Note")
    async def note(params: Number) -> None:
        began.put_nowait(time.perf_counter())

    # Its own poll comes too late to explain what is measured here.
    worker = make_worker(database, registry_of(database, note), poll_interval=60)
    producer = connect(migrated_url)
    note.set_database(producer)
    delays = []
    async with working(worker):
        await note.later(Number())
        await asyncio.wait_for(began.get(), 10)
        for _ in range(10):
            await note.later(Number())
            enqueued = time.perf_counter()
            delays.append(await asyncio.wait_for(began.get(), 10) - enqueued)
    await producer.close()
    milliseconds = sorted(round(delay * 1000, 1) for delay in delays)
    record_property("milliseconds from commit to handler", milliseconds)
    print(f"{database!r}: {milliseconds} ms from commit to handler")
    assert milliseconds[len(milliseconds) // 2] < 250


@on_postgres
async def test_polls_while_its_listening_connection_is_gone_and_listens_again(
    database: Database, migrated_url: str
) -> None:
    began: asyncio.Queue[None] = asyncio.Queue()

    @define_job(name="Note")
    async def note(params: Number) -> None:
        began.put_nowait(None)

    async def listeners() -> list[int]:
        async with await psycopg.AsyncConnection.connect(migrated_url) as connection:
            cursor = await connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
            return [pid for (pid,) in await cursor.fetchall()]

    worker = make_worker(database, registry_of(database, note), poll_interval=0.3)
    async with working(worker):

        async def listens() -> bool:
            return await listeners() != []

        await until(listens, "the worker listens")
        (killed,) = await listeners()
        async with await psycopg.AsyncConnection.connect(migrated_url) as connection:
            await connection.execute("SELECT pg_terminate_backend(%s)", [killed])
        await note.later(Number())
        await asyncio.wait_for(began.get(), 10)

        async def listens_again() -> bool:
            return bool(set(await listeners()) - {killed})

        await until(listens_again, "the worker listens again")
        await note.later(Number())
        await asyncio.wait_for(began.get(), 10)


@on_postgres
async def test_every_job_completes_once_while_postgres_kills_its_connections(
    database: Database, migrated_url: str
) -> None:
    executed: Counter[int] = Counter()

    @define_job(name="Note", max_attempts=1)
    async def note(params: Number) -> None:
        executed[params.n] += 1
        await asyncio.sleep(0.005)

    async def kill_all() -> None:
        async with await psycopg.AsyncConnection.connect(migrated_url, autocommit=True) as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    worker = make_worker(database, registry_of(database, note), concurrency=5)
    await note.later_many([Number(n=n) for n in range(300)])
    async with working(worker):
        for milestone in (30, 120, 210):
            await until(lambda m=milestone: len(executed) >= m, f"{milestone} jobs have begun")  # type: ignore[misc]
            await kill_all()

        async def all_completed() -> bool:
            try:
                return await statuses(Store(database)) == {JobStatus.COMPLETED: 300}
            except Exception:  # noqa: BLE001 - our own question may find a dead connection
                return False

        await until(all_completed, "all jobs are completed")
    assert executed == Counter(range(300))
    assert worker.totals.completed == 300


async def test_closing_ends_a_long_wait_for_changes(database: Database) -> None:
    await database.wait_for_change(0.1)
    waiting = asyncio.create_task(database.wait_for_change(60))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await database.close()
        await waiting


async def test_delayed_jobs_run_when_they_are_due(database: Database, store: Store) -> None:
    @define_job(name="Note")
    async def note(params: Number) -> None: ...

    registry = registry_of(database, note)
    soon = await note.later(Number(), delay=0.3)
    tomorrow = await note.later(Number(), delay=timedelta(days=1))

    # Draining waits for what is due within a minute, and for nothing else.
    totals = await drain(database, registry)

    assert totals.completed == 1
    record = await store.get(soon)
    assert record.handler_started_at is not None
    assert record.handler_started_at >= record.scheduled_for
    assert (await store.get(tomorrow)).status is JobStatus.PENDING


async def test_a_failed_attempt_is_repeated_after_its_delay(
    database: Database, store: Store
) -> None:
    began: list[float] = []

    @define_job(name="Flaky", max_attempts=2, retry_policy=RetryPolicy.fixed(0.2))
    async def flaky(params: Number, context: JobContext) -> str:
        began.append(time.monotonic())
        if context.attempt == 1:
            raise ValueError("not yet")
        return "done"

    registry = registry_of(database, flaky)
    job_id = await flaky.later(Number())

    totals = await drain(database, registry)

    record = await store.get(job_id)
    assert (record.status, record.result, record.error) == (JobStatus.COMPLETED, '"done"', None)
    assert [error.message for error in record.attempt_errors] == ["not yet"]
    assert (totals.failed, totals.completed) == (1, 1)
    first, second = began
    assert second - first >= 0.2


async def test_attempts_run_out(database: Database, store: Store) -> None:
    attempts: Counter[str] = Counter()

    @define_job(name="Broken", max_attempts=3, retry_policy=AT_ONCE)
    async def broken(params: Number) -> None:
        attempts["broken"] += 1
        raise ValueError("never works")

    @define_job(name="Hopeless", max_attempts=3, retry_policy=AT_ONCE)
    def hopeless(params: Number) -> None:
        attempts["hopeless"] += 1
        raise PermanentError("not worth another try")

    registry = registry_of(database, broken, hopeless)
    ids = await broken.later(Number()), await hopeless.later(Number())

    await drain(database, registry)

    assert attempts == {"broken": 3, "hopeless": 1}
    assert [(await store.get(job_id)).status for job_id in ids] == [JobStatus.FAILED] * 2
    assert (await store.get(ids[0])).error == "never works"


async def test_a_handler_may_ask_for_another_time(database: Database, store: Store) -> None:
    tries = 0

    @define_job(name="Patient", max_attempts=1)
    async def patient(params: Number) -> None:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise RetryLater(0)

    registry = registry_of(database, patient)
    job_id = await patient.later(Number())

    await drain(database, registry)

    record = await store.get(job_id)
    assert (tries, record.status, record.attempt_count) == (5, JobStatus.COMPLETED, 1)


async def test_takes_over_the_job_of_a_dead_worker(database: Database, store: Store) -> None:
    @define_job(name="Note", retry_policy=AT_ONCE)
    async def note(params: Number) -> None: ...

    registry = registry_of(database, note)
    job_id = await note.later(Number())
    (dead,) = await store.claim(ClaimRequest("default", ["Note"], 1, "dead worker", 0.01))
    await until_lease_is_over(store, job_id)

    worker = make_worker(database, registry)
    async with working(worker):
        await until_status(store, job_id, JobStatus.COMPLETED)

    record = await store.get(job_id)
    assert (record.attempt_count, worker.totals.rescued) == (2, 1)
    assert [error.type for error in record.attempt_errors] == ["lease_expired"]
    assert await store.settle({dead.claim: Completed('"too late"')}) == {}


@pytest.mark.parametrize("handler", ["async", "plain"])
async def test_a_running_job_can_be_cancelled(
    database: Database, store: Store, handler: str
) -> None:
    began, ended = threading.Event(), threading.Event()

    @define_job(name="async")
    async def endless(params: Number) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @define_job(name="plain")
    def polling(params: Number, context: JobContext) -> None:
        began.set()
        deadline = time.monotonic() + 20
        while not context.cancelled and time.monotonic() < deadline:
            time.sleep(0.01)
        ended.set()
        context.raise_if_cancelled()

    job = endless if handler == "async" else polling
    worker = make_worker(database, registry_of(database, endless, polling))
    job_id = await job.later(Number())
    async with working(worker):
        await until(began.is_set, "the handler runs")
        assert await job.cancel(job_id) is JobStatus.RUNNING
        await until_status(store, job_id, JobStatus.CANCELLED)
        assert ended.is_set()


@pytest.mark.parametrize("handler", ["async", "plain"])
async def test_a_handler_that_takes_too_long_is_interrupted(
    database: Database, store: Store, handler: str
) -> None:
    @define_job(name="async", timeout=0.1, max_attempts=1)
    async def endless(params: Number) -> None:
        await asyncio.Event().wait()

    @define_job(name="plain", timeout=0.1, max_attempts=1)
    def polling(params: Number, context: JobContext) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            context.raise_if_cancelled()
            time.sleep(0.01)

    job = endless if handler == "async" else polling
    registry = registry_of(database, endless, polling)
    job_id = await job.later(Number())

    await drain(database, registry)

    record = await store.get(job_id)
    assert record.status is JobStatus.FAILED
    assert record.error == "the handler took longer than its timeout of 0.1 s"


async def test_a_handler_that_raises_cancelled_error_by_itself_fails(
    database: Database, store: Store
) -> None:
    @define_job(name="Careless", max_attempts=1)
    async def careless(params: Number) -> None:
        inner = asyncio.create_task(asyncio.sleep(10))
        inner.cancel()
        await inner

    @define_job(name="Thoughtless", max_attempts=1)
    def thoughtless(params: Number) -> None:
        raise asyncio.CancelledError

    registry = registry_of(database, careless, thoughtless)
    ids = await careless.later(Number()), await thoughtless.later(Number())

    totals = await drain(database, registry)

    assert totals.failed == 2
    for job_id in ids:
        record = await store.get(job_id)
        assert record.status is JobStatus.FAILED
        assert "nobody asked it to stop" in str(record.error)


async def test_jobs_of_an_unknown_name_are_left_for_who_knows_it(
    database: Database, store: Store
) -> None:
    @define_job(name="Known")
    async def known(params: Number) -> None: ...

    @define_job(name="Newer")
    async def newer(params: Number) -> None: ...

    registry_of(database, newer)
    for priority in (100, 0):
        await newer.later(Number(), priority=priority)
    job_id = await newer.later(Number())
    registry = registry_of(database, known)
    await known.later_many([Number()] * 3)

    assert (await drain(database, registry, concurrency=1)).claimed == 3
    record = await store.get(job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 0)

    assert (await drain(database, registry_of(database, newer))).completed == 3


async def test_a_row_whose_params_do_not_fit_fails_alone(database: Database, store: Store) -> None:
    @define_job(name="Note", max_attempts=1)
    async def note(params: Number) -> None: ...

    registry = registry_of(database, note)
    before = await note.later(Number())
    (poison,) = await store.enqueue(
        [NewJob(id="poison", job_name="Note", params='{"n": "not a number"}', max_attempts=1)]
    )
    after = await note.later(Number())

    totals = await drain(database, registry)

    assert (totals.completed, totals.failed) == (2, 1)
    assert (await store.get(before)).status is JobStatus.COMPLETED
    assert (await store.get(after)).status is JobStatus.COMPLETED
    record = await store.get(poison)
    assert record.status is JobStatus.FAILED
    assert "n: Input should be a valid integer" in str(record.error)


async def test_stopping_lets_handlers_end_and_claims_nothing_more(
    database: Database, store: Store
) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    @define_job(name="Wait")
    async def wait(params: Number) -> str:
        began.set()
        await gate.wait()
        return "done"

    worker = make_worker(database, registry_of(database, wait), concurrency=1, grace=30)
    first, second = await wait.later(Number()), await wait.later(Number())
    async with working(worker) as running:
        await began.wait()
        worker.stop()
        gate.set()
        totals = await asyncio.wait_for(running, 10)

    assert (totals.claimed, totals.completed) == (1, 1)
    assert (await store.get(first)).status is JobStatus.COMPLETED
    record = await store.get(second)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 0)


@pytest.mark.parametrize("stops", [1, 2])
async def test_handlers_that_outlast_the_grace_period_are_interrupted_and_given_back(
    database: Database, store: Store, stops: int
) -> None:
    began = asyncio.Event()
    seen: list[str] = []

    @define_job(name="Endless")
    async def endless(params: Number) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            # The job may go to somebody else only once this has ended.
            await asyncio.sleep(0.05)
            record = await store.get(job_id)
            seen.append(record.status)

    # The second stop() skips a grace period that the test has no patience for.
    grace = {1: 0.1, 2: 3_600}[stops]
    worker = make_worker(database, registry_of(database, endless), grace=grace)
    job_id = await endless.later(Number())
    async with working(worker) as running:
        await began.wait()
        for _ in range(stops):
            worker.stop()
        totals = await asyncio.wait_for(running, 10)

    assert totals.other == 1
    assert seen == [JobStatus.RUNNING]
    record = await store.get(job_id)
    assert (record.status, record.attempt_count, record.release_count) == (JobStatus.PENDING, 0, 1)
    assert record.worker_id is None


async def test_a_worker_that_is_cancelled_ends_its_handlers_before_it_gives_their_jobs_back(
    database: Database, store: Store
) -> None:
    began = asyncio.Event()
    seen: list[str] = []

    @define_job(name="Endless")
    async def endless(params: Number) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append((await store.get(job_id)).status)

    worker = make_worker(database, registry_of(database, endless), grace=3_600)
    job_id = await endless.later(Number())
    running = asyncio.create_task(worker.run_until_stopped())
    await asyncio.wait_for(began.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 10)

    assert seen == [JobStatus.RUNNING]
    record = await store.get(job_id)
    assert (record.status, record.attempt_count, record.release_count) == (JobStatus.PENDING, 0, 1)


@on_postgres
async def test_one_broken_connection_stands_for_all_of_a_restarted_server(
    database: Database, migrated_url: str
) -> None:
    @define_job(name="Note")
    async def note(params: Number) -> None: ...

    registry_of(database, note)
    await asyncio.gather(*(note.later(Number()) for _ in range(60)))
    async with await psycopg.AsyncConnection.connect(migrated_url, autocommit=True) as killer:
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    for n in range(20):
        await note.later(Number(n=n))


async def test_a_job_whose_handler_does_not_listen_is_not_given_back(
    database: Database,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("server_jobs.worker.LAST_MOMENT_SECONDS", 0.2)
    began, gate = threading.Event(), threading.Event()

    @define_job(name="Deaf")
    def deaf(params: Number) -> None:
        began.set()
        gate.wait(20)

    worker = make_worker(database, registry_of(database, deaf), grace=0)
    job_id = await deaf.later(Number())
    try:
        async with working(worker) as running:
            await until(began.is_set, "the handler runs")
            worker.stop()
            await asyncio.wait_for(running, 10)
        # While it runs, nobody else may have the job: its lease has to expire first.
        record = await store.get(job_id)
        assert (record.status, record.worker_id) == (JobStatus.RUNNING, worker.worker_id)
        assert [job.id for job in worker.running] == [job_id]
        assert "its handler doesn't stop" in caplog.text
    finally:
        gate.set()
    await until(lambda: not worker.running, "the handler has ended")


async def test_a_job_that_is_given_back_too_often_fails_and_says_why(
    database: Database, store: Store
) -> None:
    @define_job(name="Endless")
    async def endless(params: Number) -> None:
        began.set()
        await asyncio.Event().wait()

    registry = registry_of(database, endless)
    job_id = await endless.later(Number())
    for _ in range(3):
        began = asyncio.Event()
        worker = make_worker(database, registry, grace=0, max_releases=2)
        async with working(worker):
            await began.wait()

    record = await store.get(job_id)
    assert record.status is JobStatus.FAILED
    assert "given back more than 2 times in a row" in str(record.error)


async def test_a_handler_that_blocks_the_loop_keeps_its_lease(
    database: Database, store: Store, migrated_url: str
) -> None:
    @define_job(name="Blocking", retry_policy=AT_ONCE)
    async def blocking(params: Number) -> int:
        time.sleep(2.2)  # noqa: ASYNC251 - what this test is about
        return rescued

    rescued = 0
    over = threading.Event()

    def rescue_all_the_time() -> None:
        async def rescue() -> None:
            nonlocal rescued
            other = connect(migrated_url)
            while not over.wait(0.1):
                rescued += len(await Store(other).rescue())
            await other.close()

        asyncio.run(rescue())

    registry = registry_of(database, blocking)
    job_id = await blocking.later(Number())
    rescuer = threading.Thread(target=rescue_all_the_time)
    rescuer.start()
    try:
        totals = await drain(database, registry, lease=1.0)
    finally:
        over.set()
        await asyncio.to_thread(rescuer.join)

    record = await store.get(job_id)
    assert (record.status, record.attempt_count, rescued) == (JobStatus.COMPLETED, 1, 0)
    assert (totals.completed, totals.lost) == (1, 0)


async def test_losing_the_lease_stops_the_handler(
    database: Database, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    @define_job(name="Endless", retry_policy=RetryPolicy.fixed(3_600))
    async def endless(params: Number) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    worker = make_worker(database, registry_of(database, endless), lease=1.0)
    job_id = await endless.later(Number())
    async with working(worker):
        await began.wait()
        await take_away(store, job_id)
        await asyncio.wait_for(stopped.wait(), 10)
        await until(lambda: worker.totals.lost == 1, "the worker notices")

    record = await store.get(job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 1)
    assert "the lease was lost, its handler is stopped" in caplog.text


async def test_the_completion_of_a_job_that_was_taken_away_is_refused(
    database: Database, store: Store
) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    @define_job(name="Stubborn", retry_policy=RetryPolicy.fixed(3_600))
    async def stubborn(params: Number) -> str:
        began.set()
        await gate.wait()
        return "too late"

    worker = make_worker(database, registry_of(database, stubborn))
    job_id = await stubborn.later(Number())
    async with working(worker):
        await began.wait()
        await take_away(store, job_id)
        gate.set()
        await until(lambda: worker.totals.lost == 1, "the worker notices")

    record = await store.get(job_id)
    assert (record.status, record.result) == (JobStatus.PENDING, None)
    assert worker.totals.completed == 0


async def test_a_job_that_comes_back_to_the_same_worker_keeps_its_new_lease(
    database: Database, store: Store
) -> None:
    """Somebody took the job from a worker that seemed dead, and the same worker claims it again."""
    began: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    gate = asyncio.Event()

    @define_job(name="Twice", retry_policy=AT_ONCE)
    async def twice(params: Number, context: JobContext) -> int:
        began[context.attempt] += 1
        try:
            await gate.wait()
        finally:
            ended[context.attempt] += 1
        return context.attempt

    worker = make_worker(database, registry_of(database, twice), lease=1.0, poll_interval=0.05)
    job_id = await twice.later(Number())
    async with working(worker):
        await until(lambda: began[1] == 1, "the first attempt runs")
        await take_away(store, job_id)
        await until(lambda: began[2] == 1, "the second attempt runs")
        await until(lambda: ended[1] == 1, "the first attempt is stopped")
        await until_lease_is_over(store, job_id)
        gate.set()
        await until_status(store, job_id, JobStatus.COMPLETED)

    record = await store.get(job_id)
    assert (record.result, record.attempt_count, began) == ("2", 2, {1: 1, 2: 1})
    assert (worker.totals.completed, worker.totals.lost) == (1, 1)


async def until_lease_is_over(store: Store, job_id: str) -> None:
    """Wait until the lease that a job has now would have expired, had nobody renewed it."""
    expires_at = (await store.get(job_id)).worker_expires_at
    assert expires_at is not None

    async def over() -> bool:
        return await store.clock() > expires_at

    await until(over, f"the lease of job {job_id} is over")


async def take_away(store: Store, job_id: str) -> None:
    """Let the lease expire for everybody else, as if its holder had been asleep for long."""
    expires_at = (await store.get(job_id)).worker_expires_at
    assert expires_at is not None
    later = bindparam("now", expires_at + timedelta(seconds=1), type_=UtcDateTime())
    assert job_id in await Store(store.database, now=later).rescue()


async def test_progress_shows_while_the_job_runs(database: Database, store: Store) -> None:
    gate = asyncio.Event()

    @define_job(name="Steps")
    async def steps(params: Number, context: JobContext) -> None:
        for percent in range(43):
            await context.update_progress(percent, f"step {percent}")
        await gate.wait()

    worker = make_worker(database, registry_of(database, steps))
    job_id = await steps.later(Number())
    async with working(worker):

        async def shows() -> bool:
            record = await store.get(job_id)
            return (record.progress, record.progress_message) == (42, "step 42")

        await until(shows, "the progress shows")
        gate.set()
        await until_status(store, job_id, JobStatus.COMPLETED)
    record = await store.get(job_id)
    assert (record.progress, record.progress_message) == (100, "step 42")


@pytest.mark.parametrize("handler", ["async", "plain"])
async def test_the_last_progress_before_a_failure_is_kept(
    database: Database, store: Store, handler: str
) -> None:
    @define_job(name="async", max_attempts=1)
    async def breaks(params: Number, context: JobContext) -> None:
        for percent in range(71):
            await context.update_progress(percent, f"step {percent}")
        raise ValueError("the rest is missing")

    @define_job(name="plain", max_attempts=1)
    def breaks_too(params: Number, context: JobContext) -> None:
        for percent in range(71):
            context.update_progress(percent, f"step {percent}")
        raise ValueError("the rest is missing")

    job = breaks if handler == "async" else breaks_too
    registry = registry_of(database, breaks, breaks_too)
    job_id = await job.later(Number())

    await drain(database, registry)

    record = await store.get(job_id)
    assert (record.progress, record.progress_message) == (70, "step 70")
