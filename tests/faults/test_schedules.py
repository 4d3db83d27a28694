"""Each fire time makes one job, however many schedulers there are and whatever becomes of them."""

import asyncio
import signal
from datetime import timedelta
from itertools import chain
from pathlib import Path

from server_jobs import connect
from server_jobs.migrate import migrate
from server_jobs.schedules.cron import clock_changes, time_zone
from tests.support.databases.raw_sql import run
from tests.support.drills.schedules import (
    PROCESSES,
    REPEATING,
    SKIPPING,
    START,
    ScheduleDrill,
    schedules,
)
from tests.support.servers.postgres import SETTINGS, killable_server, temporary_database

HOURS = 36

# An answered commit must outlive the server, as in production.
LASTING = SETTINGS | {"synchronous_commit": "on"}


def test_the_drills_days_have_skipped_and_repeated_hours() -> None:
    def changes(zone: str) -> list[bool]:
        end = START + timedelta(hours=HOURS)
        return [change.skips for change in clock_changes(time_zone(zone), START, end)]

    assert changes(SKIPPING) == [True]
    assert list(chain(*map(changes, REPEATING))) == [False] * len(REPEATING)


async def test_eight_schedulers_of_which_some_are_killed_fire_each_time_once(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    migrate(database_url)
    database = connect(database_url)
    # Else it would keep out what the compare-and-set let through.
    await run(database, "DROP INDEX jobs_cron_fire")
    await database.close()
    drill = ScheduleDrill(tmp_path, database_url, seed, hours=HOURS)
    await drill.add(schedules(200, catchups=("latest", "none", "all", "latest")))

    with drill.running(mortals=2):
        drill.all_are_at_work()
        while drill.goes_on(drill.rng.uniform(0.5, 2.0)):
            if drill.kills < 4:
                drill.kill_one()

    made = drill.judge()
    assert len(made) > 2_000, drill.explain("too few jobs for this to prove anything")
    assert drill.died_in_batch == 2, drill.explain("not all of the mortal ones have died")
    assert drill.kills >= 2, drill.explain("too few were killed")
    assert drill.fired_by == PROCESSES, drill.explain("some never came first")
    assert not drill.said(), drill.explain("there was something to warn of")


async def test_no_fire_time_is_lost_where_the_database_is_killed(tmp_path: Path, seed: int) -> None:
    with killable_server(LASTING) as server, temporary_database(server.url) as url:
        migrate(url)
        drill = ScheduleDrill(tmp_path, url, seed, hours=24, endures=True)
        await drill.add(schedules(200, catchups=("all",)))
        kills = 0

        with drill.running(mortals=1):
            drill.all_are_at_work()
            while drill.goes_on(drill.rng.uniform(1.0, 3.0)):
                server.kill(drill.rng.choice([signal.SIGKILL, signal.SIGQUIT]))
                await asyncio.sleep(drill.rng.uniform(0, 1.0))
                await asyncio.to_thread(server.start)
                kills += 1

        made = drill.judge()
        assert len(made) > 2_000, drill.explain("too few jobs for this to prove anything")
        assert kills >= 3, drill.explain("too few kills for this to prove anything")
        assert "missed" not in "".join(drill.said()), drill.explain("fire times were given up")
