"""Ticks that are longer than a minute: several are there at once, and one claims."""

import asyncio
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.database import Database
from tests.support.edge_worker import (
    EXPIRE,
    Params,
    PlatformLimit,
    double,
    registry_of,
    sql,
    statuses,
    tick,
)

LONG: dict[str, Any] = {"wall_budget": 100.0}
EXPIRE_TURN = "UPDATE server_jobs_leases SET expires_at = '2020-01-01 00:00:00'"


async def turns(database: Database) -> int:
    """How many ticks have theirs."""
    ((count,),) = await sql(database, "SELECT count(*) FROM server_jobs_leases")
    return int(count)


async def test_of_long_ticks_one_claims_and_the_others_maintain(database: Database) -> None:
    began, end = asyncio.Event(), asyncio.Event()

    async def slow(params: Params) -> None:
        began.set()
        await end.wait()

    registry = registry_of(slow, double).bind(database)
    await registry.get("slow").later({})
    first = asyncio.create_task(tick(database, registry, **LONG))
    await began.wait()
    await registry.get("double").later({}, priority=-1)
    await registry.get("double").later({}, queue="mail")
    await sql(database, "UPDATE jobs SET ready = 0 WHERE status = 'pending'")

    second = await tick(database, registry, **LONG)
    of_another_queue = await tick(database, registry, queues=("mail",), **LONG)

    assert (second.ended, second.staged, second.claimed) == ("another tick", 2, 0)
    assert (of_another_queue.ended, of_another_queue.completed) == ("spent", 1)
    end.set()
    assert (await first).completed == 2
    assert await turns(database) == 0


async def test_tick_that_claims_no_more_lets_go_while_its_handlers_run(
    database: Database,
) -> None:
    began, end = asyncio.Event(), asyncio.Event()

    async def slow(params: Params) -> None:
        began.set()
        await end.wait()

    registry = registry_of(slow, double).bind(database)
    await registry.get("slow").later({}, priority=1)
    await registry.get("double").later({})
    first = asyncio.create_task(tick(database, registry, max_jobs_per_tick=1, **LONG))
    await began.wait()
    async with asyncio.timeout(10):
        while await turns(database):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)

    assert (await tick(database, registry, **LONG)).completed == 1
    end.set()
    assert (await first).ended == "jobs"


async def test_turn_of_a_tick_that_was_killed_expires(database: Database) -> None:
    async def heavy(params: Params) -> None:
        if not healed:
            raise PlatformLimit

    healed = False
    registry = registry_of(heavy).bind(database)
    await registry.get("heavy").later({})
    with pytest.raises(PlatformLimit):
        await tick(database, registry, **LONG)
    await sql(database, EXPIRE)
    healed = True

    assert (await tick(database, registry, **LONG)).ended == "another tick"
    await sql(database, EXPIRE_TURN)
    await sql(database, "UPDATE jobs SET scheduled_for = '2020-01-01 00:00:00'")
    assert (await tick(database, registry, **LONG)).completed == 1
    assert await statuses(database) == {JobStatus.COMPLETED: 1}


async def test_short_ticks_take_no_turns(database: Database) -> None:
    registry = registry_of(double).bind(database)
    await registry.get("double").later({})
    await sql(database, "DROP TABLE server_jobs_leases")  # as in tables of an older release

    assert (await tick(database, registry)).completed == 1
