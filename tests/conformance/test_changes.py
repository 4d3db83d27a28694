"""``wait_for_change``: woken by what others commit, and never for longer than asked."""

import asyncio
import time

import pytest

from server_jobs.database import Database
from server_jobs.store.store import Store
from tests.support.databases.kinds import Place, each_forking_kind, each_shared_kind
from tests.support.processes.forks import Signal, forked
from tests.support.scene import new_job

PROMPTLY = 2.0
"""Seconds; a wait that sleeps to its end takes longer."""
PATIENCE = 10.0


async def enqueue(database: Database) -> None:
    await Store(database).enqueue([new_job()])


async def settle_in(database: Database) -> None:
    """Take note of all that has happened: a first wait may end at once."""
    for _ in range(3):
        await database.wait_for_change(0.05)


async def seconds_to_wake(database: Database) -> float:
    started = time.monotonic()
    await database.wait_for_change(PATIENCE)
    return time.monotonic() - started


@each_shared_kind
async def test_wait_ends_when_another_connection_commits(database: Database, place: Place) -> None:
    other = place.open()
    await settle_in(database)
    waiting = asyncio.create_task(seconds_to_wake(database))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    await enqueue(other)

    assert await waiting < PROMPTLY


async def test_wait_ends_when_this_database_object_commits(database: Database) -> None:
    await settle_in(database)
    waiting = asyncio.create_task(seconds_to_wake(database))

    await enqueue(database)

    assert await waiting < PROMPTLY


@each_shared_kind
async def test_commit_between_two_waits_ends_the_second_at_once(
    database: Database, place: Place
) -> None:
    await settle_in(database)
    await enqueue(place.open())

    assert await seconds_to_wake(database) < PROMPTLY


@each_shared_kind
async def test_one_commit_wakes_once(database: Database, place: Place) -> None:
    await settle_in(database)
    await enqueue(place.open())
    await database.wait_for_change(PATIENCE)

    started = time.monotonic()
    await database.wait_for_change(0.2)
    assert time.monotonic() - started >= 0.19


@each_forking_kind
def test_wait_ends_when_another_process_commits(database: Database, place: Place) -> None:
    other = place.open()
    asyncio.run(settle_in(database))
    parent_waits = Signal()

    def work() -> None:
        parent_waits.wait()
        asyncio.run(enqueue(other))
        asyncio.run(other.close())

    async def wait() -> float:
        waiting = asyncio.create_task(seconds_to_wake(database))
        await asyncio.sleep(0.05)
        parent_waits.give()
        return await waiting

    with forked(work):
        # The fork itself may end one wait: connections were opened anew.
        asyncio.run(settle_in(database))
        assert asyncio.run(wait()) < PROMPTLY


@each_shared_kind
@pytest.mark.parametrize("timeout", [0, 0.1])
async def test_quiet_database_ends_the_wait_by_its_timeout(
    database: Database, timeout: float
) -> None:
    await settle_in(database)

    started = time.monotonic()
    await database.wait_for_change(timeout)

    assert timeout * 0.9 <= time.monotonic() - started < timeout + PROMPTLY


async def test_change_wakes_every_task_that_waits(database: Database) -> None:
    await settle_in(database)
    waiting = [asyncio.create_task(seconds_to_wake(database)) for _ in range(5)]
    await asyncio.sleep(0.05)

    await enqueue(database)

    assert max(await asyncio.gather(*waiting)) < PROMPTLY


@each_shared_kind
async def test_task_that_was_busy_is_told_of_what_others_were_told_of(
    database: Database, place: Place
) -> None:
    free = asyncio.Event()

    async def wait_twice() -> float:
        await settle_in(database)
        await free.wait()
        return await seconds_to_wake(database)

    busy = asyncio.create_task(wait_twice())
    await settle_in(database)
    await settle_in(database)
    await enqueue(place.open())
    await database.wait_for_change(PATIENCE)

    free.set()

    assert await busy < PROMPTLY


async def test_wait_doesnt_keep_statements_from_running(database: Database) -> None:
    await settle_in(database)
    waiting = asyncio.create_task(database.wait_for_change(PATIENCE))

    async with asyncio.timeout(PROMPTLY):
        await Store(database).clock()
        await enqueue(database)
        await waiting


@each_shared_kind
async def test_close_ends_a_wait(database: Database) -> None:
    await settle_in(database)
    waiting = asyncio.create_task(database.wait_for_change(PATIENCE))
    await asyncio.sleep(0.05)

    started = time.monotonic()
    await database.close()
    await waiting

    assert time.monotonic() - started < PROMPTLY


@each_shared_kind
async def test_wait_after_close_works_again(database: Database, place: Place) -> None:
    await settle_in(database)
    await database.close()
    await settle_in(database)
    await enqueue(place.open())

    assert await seconds_to_wake(database) < PROMPTLY
