"""``run_sync`` keeps a loop per thread; a fork must spoil it neither here nor there."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from server_jobs.synchronous import run_sync
from tests.support.processes.forks import Signal, forked


def _wakes_from_a_thread() -> bool:
    """Whether another thread can wake the loop: what every statement of a database needs."""
    run_sync(asyncio.wait_for(asyncio.to_thread(time.sleep, 0.01), timeout=10))
    return True


def test_loop_of_another_thread_survives_a_fork() -> None:
    with ThreadPoolExecutor(1) as other_thread:
        assert other_thread.submit(_wakes_from_a_thread).result()

        with forked(lambda: None):
            pass

        assert other_thread.submit(_wakes_from_a_thread).result()


def test_loop_of_the_forking_thread_survives_in_parent_and_child() -> None:
    assert _wakes_from_a_thread()

    with forked(_wakes_from_a_thread):
        assert _wakes_from_a_thread()

    assert _wakes_from_a_thread()


def test_children_of_one_parent_dont_take_each_others_wake_ups() -> None:
    assert _wakes_from_a_thread()
    first_waits, second_is_done = Signal(), Signal()

    def first() -> None:
        def slow() -> None:
            first_waits.give()
            second_is_done.wait()

        run_sync(asyncio.wait_for(asyncio.to_thread(slow), timeout=10))

    def second() -> None:
        first_waits.wait()
        assert all(_wakes_from_a_thread() for _ in range(20))
        second_is_done.give()

    with forked(first), forked(second):
        pass


def test_every_thread_has_a_loop_of_its_own() -> None:
    loops: set[asyncio.AbstractEventLoop] = set()
    both = threading.Barrier(2)

    async def running_loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def use() -> None:
        loops.add(run_sync(running_loop()))
        both.wait()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: use(), range(2)))

    assert len(loops) == 2
