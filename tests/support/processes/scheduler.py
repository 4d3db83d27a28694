"""A scheduler in a process of its own, on a simulated clock: what a drill starts several of."""

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from server_jobs.database import connect
from server_jobs.database.postgres_connection import PostgresConnection
from server_jobs.database.sqlite import SqliteDatabase
from server_jobs.errors import DatabaseError
from server_jobs.schedules import ScheduleStore
from server_jobs.schedules.scheduler import Scheduler, Ticked
from server_jobs.sql.statement import Statement
from tests.support.clock import Clock
from tests.support.processes.timeline import Places, moments

CLOCKS_DIFFER_BY_SECONDS = 3.0

_PAUSE_SECONDS = 0.0005
_AWAY_SECONDS = 0.01
_UNANSWERED_SECONDS = 0.05


@dataclass(frozen=True)
class Orders:
    """What a process is told."""

    database_url: str
    progress: str
    places: int
    place: int
    start: str
    end: str
    seed: int
    dies_in_batch: int | None = None
    """The batch in whose middle it kills itself."""
    endures: bool = False
    """A database that is away is no reason to end. The clock goes on meanwhile."""

    def arguments(self) -> list[str]:
        return ["-m", "tests.support.processes.scheduler", json.dumps(asdict(self))]


async def walk(orders: Orders) -> None:
    """Tick at each moment of the timeline, never more than a step ahead of the slowest."""
    places = Places(Path(orders.progress), orders.places)
    way = moments(
        datetime.fromisoformat(orders.start), datetime.fromisoformat(orders.end), orders.seed
    )
    rng = random.Random(f"{orders.seed} {orders.place} {os.getpid()}")
    database = connect(orders.database_url)
    clock = Clock()
    scheduler = Scheduler(ScheduleStore(database, clock.expression))
    last = len(way) - 1
    for step in range(places.join(orders.place, last) + 1, len(way)):
        while places.slowest() < step - 1:  # noqa: ASYNC110 - other processes move
            await asyncio.sleep(_PAUSE_SECONDS)
        clock.value = way[step]
        if step != last:
            differs = rng.uniform(-CLOCKS_DIFFER_BY_SECONDS, CLOCKS_DIFFER_BY_SECONDS)
            clock.value += timedelta(seconds=differs)
        ticked = await tick(scheduler, endures=orders.endures, until_done=step == last)
        places.add(orders.place, len(ticked.job_ids))
        places.reach(orders.place, step)
    await database.close()


async def tick(scheduler: Scheduler, *, endures: bool, until_done: bool) -> Ticked:
    while True:
        try:
            return await scheduler.tick()
        except DatabaseError:
            if not endures:
                raise
            await asyncio.sleep(_AWAY_SECONDS)
            if not until_done:
                return Ticked()


def die_in_batch(number: int) -> None:
    """Let this process be killed once a batch has taken fire times, before it is committed."""
    batches = 0

    def begins() -> bool:
        nonlocal batches
        batches += 1
        return batches == number

    def sqlite_one(self: SqliteDatabase, connection: Any, statement: Statement) -> Any:
        rows = original_one(self, connection, statement)
        if connection.in_transaction and "fires" in statement.values and begins():
            os.kill(os.getpid(), signal.SIGKILL)
        return rows

    def postgres_execute(self: PostgresConnection, query: Any, *more: Any, **kw: Any) -> Any:
        if query == "COMMIT" and begins():
            # The server is at the other statements, for they are sent one by one.
            time.sleep(_UNANSWERED_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        return original_execute(self, query, *more, **kw)

    original_one, original_execute = SqliteDatabase._one, PostgresConnection.execute
    SqliteDatabase._one = sqlite_one  # type: ignore[method-assign]
    PostgresConnection.execute = postgres_execute  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    given = Orders(**json.loads(sys.argv[1]))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if given.dies_in_batch is not None:
        die_in_batch(given.dies_in_batch)
    asyncio.run(walk(given))
