"""Calls that wait for their database's thread."""

import asyncio
import sqlite3

from server_jobs import connect
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.support.scene import new_job


async def test_a_call_that_is_cancelled_before_its_turn_writes_nothing(sqlite_url: str) -> None:
    migrate(sqlite_url)
    database = connect(sqlite_url)
    store = Store(database)
    await store.clock()
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # There is one thread: the first waits on it for the lock, the second for the first.
    first = asyncio.create_task(store.enqueue([new_job(id="first")]))
    second = asyncio.create_task(store.enqueue([new_job(id="second")]))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.wait({second})
    other.execute("COMMIT")
    other.close()
    await first

    assert await store.list_ids() == ["first"]
    await database.close()
