"""``run_sync``: the same API, from code without an event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from server_jobs import JobFailedError, connect, define_job, run_sync
from server_jobs.errors import InvalidParamsError, ServerJobsError
from server_jobs.migrate import migrate

T = TypeVar("T")


@define_job(name="Double")
def double(params: int) -> int:
    return 2 * params


async def answer(value: T) -> T:
    await asyncio.sleep(0)
    return value


async def loop_in_use() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def on_a_thread(call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_answer_comes_back() -> None:
    assert run_sync(answer(5)) == 5
    assert run_sync(double.now(4, persist=False)).data == 8


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), SystemExit(3)])
def test_whatever_the_call_raises_comes_back(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        on_a_thread(lambda: run_sync(fail()))


def test_errors_of_the_api_come_back() -> None:
    @define_job(name="Fail")
    def fail(params: int) -> None:
        raise LookupError("no such order")

    wrong: Any = "x"
    with pytest.raises(InvalidParamsError, match="Double"):
        run_sync(double.now(wrong, persist=False))
    with pytest.raises(JobFailedError, match="no such order"):
        run_sync(fail.now(1, persist=False))


async def test_where_a_loop_runs_it_says_to_await_instead() -> None:
    call: Coroutine[Any, Any, int] = answer(5)
    with pytest.raises(ServerJobsError, match="runs an event loop: await the call instead"):
        run_sync(call)

    # Closed, so that Python doesn't complain of a call that was never awaited.
    with pytest.raises(RuntimeError, match="cannot reuse"):
        await call


async def test_plain_handlers_may_use_it_beside_the_loop() -> None:
    @define_job(name="Outer")
    def outer(params: int) -> int:
        return run_sync(double.now(params, persist=False)).data

    assert (await outer.now(3, persist=False)).data == 6


def test_thread_keeps_its_loop_and_shares_it_with_no_other() -> None:
    here = run_sync(loop_in_use())

    assert run_sync(loop_in_use()) is here
    assert on_a_thread(lambda: run_sync(loop_in_use())) is not here


def test_loop_is_closed_when_its_thread_ends() -> None:
    seen: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: seen.append(run_sync(loop_in_use())))
    thread.start()
    thread.join()

    assert seen[0].is_closed()


def test_loop_of_its_own_leaves_asyncio_run_alone() -> None:
    first = run_sync(answer(1))
    second = asyncio.run(answer(2))

    assert (first, second, run_sync(answer(3))) == (1, 2, 3)


def test_many_threads_share_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    migrate(url)

    @define_job(name="Note")
    def note(params: int) -> int:
        return params

    database = connect(url)
    note.set_database(database)

    def enqueue_and_execute(number: int) -> int:
        job_id = run_sync(note.later(number))
        run_sync(note.execute_from_database(job_id))
        return run_sync(note.wait(job_id, timeout=10)).data

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(enqueue_and_execute, range(24)))
    run_sync(database.close())

    assert answers == list(range(24))
