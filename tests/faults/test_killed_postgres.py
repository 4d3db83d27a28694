"""PostgreSQL is killed, without a checkpoint and without a word to anybody, and comes back."""

import asyncio
import signal
from pathlib import Path

from tests.support.drills.drill import Drill
from tests.support.servers.postgres import SETTINGS, killable_server, temporary_database

# An answered commit must outlive the server's processes, as in production.
LASTING = SETTINGS | {"synchronous_commit": "on"}


async def test_jobs_outlive_a_server_that_is_killed_every_few_seconds(
    tmp_path: Path, seed: int
) -> None:
    with killable_server(LASTING) as server, temporary_database(server.url) as url:
        drill = Drill(tmp_path, url, seed)
        await drill.enqueue()
        kills = 0

        with drill.workers() as workers:
            await drill.all_are_at_work()
            while await drill.goes_on(drill.rng.uniform(1.5, 3.0)):
                server.kill(drill.rng.choice([signal.SIGKILL, signal.SIGQUIT]))
                # Now shorter than a lease, now longer.
                await asyncio.sleep(drill.rng.uniform(0, 2.5))
                await asyncio.to_thread(server.start)
                kills += 1

        jobs = drill.judge()
        assert kills >= 3, drill.explain("too few kills for this to prove anything")
        repeated = [job for job in jobs if len(job.claims) > 1]
        assert repeated, drill.explain("no kill was noticed")
        assert not workers.ended, drill.explain("workers ended instead of waiting")
