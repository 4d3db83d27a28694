"""Leases on a name: one holder at a time, by the database's clock."""

import asyncio

import pytest

from server_jobs.database import Database
from server_jobs.store.named_lease import NamedLease
from tests.support.clock import Clock
from tests.support.databases.kinds import Place, each_shared_kind
from tests.support.scene import new_job


@pytest.fixture
def name() -> str:
    """One that no other test has used: the table isn't emptied between them."""
    return new_job().id


async def test_second_comer_gets_it_once_the_first_has_let_go(
    database: Database, name: str
) -> None:
    first, second = NamedLease(database, name, "first"), NamedLease(database, name, "second")
    another = NamedLease(database, f"{name} too", "second")

    assert await first.take(60)
    assert not await second.take(60)
    assert await another.take(60)
    await second.let_go()
    assert not await second.take(60)
    await first.let_go()
    assert await second.take(60)
    assert not await first.take(60)


async def test_it_expires_by_the_databases_clock(database: Database, name: str) -> None:
    clock = Clock()
    first, second = (
        NamedLease(database, name, holder, now=clock.expression) for holder in ("first", "second")
    )
    assert await first.take(60)

    clock.advance(59)
    assert not await second.take(60)
    assert await first.take(60)
    clock.advance(59)
    assert not await second.take(60)
    clock.advance(1)
    assert await second.take(60)
    await first.let_go()
    assert not await first.take(60)


async def test_it_expires_by_the_servers_own_clock_too(database: Database, name: str) -> None:
    first, second = NamedLease(database, name, "first"), NamedLease(database, name, "second")

    assert await first.take(0)
    await asyncio.sleep(0.01)
    assert await second.take(60)


@each_shared_kind
async def test_of_many_at_once_one_gets_it(place: Place, name: str) -> None:
    databases = [place.open() for _ in range(3)]
    wanted = [NamedLease(databases[number % 3], name, f"{number}") for number in range(9)]

    taken = await asyncio.gather(*(claim.take(60) for claim in wanted))

    assert sum(taken) == 1
