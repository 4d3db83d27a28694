"""The primary is killed under load, and its standby takes over."""

import asyncio
import signal
from pathlib import Path

from server_jobs import connect
from server_jobs.errors import DatabaseError
from tests.support.drills.app import Task, listening
from tests.support.drills.drill import Drill
from tests.support.servers.postgres import SETTINGS, killable_server, standby_of

# An answered commit is on both servers.
REPLICATED = SETTINGS | {"synchronous_commit": "on", "hot_standby": "on"}
SECONDS_BEFORE = 4.0


async def test_jobs_outlive_their_primary(tmp_path: Path, seed: int) -> None:
    with killable_server(REPLICATED) as primary, standby_of(primary, REPLICATED) as standby:
        hosts = f"{primary.socket.parent},{standby.socket.parent}"
        # What the test itself reads comes from the one that takes writes, too.
        url = (
            f"postgresql://postgres@/postgres?host={hosts}&port=5432"
            "&target_session_attrs=read-write"
        )
        drill = Drill(tmp_path, url, seed)
        await drill.enqueue()
        acknowledged: list[str] = []
        failed = 0
        over = asyncio.Event()

        async def enqueue_all_the_time() -> None:
            nonlocal failed
            database = connect(url)
            listening.set_database(database)
            while not over.is_set():
                try:
                    acknowledged.append(await listening.later(Task(seconds=0.0)))
                except DatabaseError:
                    failed += 1
                await asyncio.sleep(0.01)
            await database.close()

        with drill.workers() as workers:
            await drill.all_are_at_work()
            enqueuer = asyncio.create_task(enqueue_all_the_time())
            assert await drill.goes_on(SECONDS_BEFORE), drill.explain("too few jobs")
            before = len(acknowledged)
            await asyncio.to_thread(primary.kill, signal.SIGQUIT)
            await asyncio.sleep(drill.rng.uniform(0, 3))
            await asyncio.to_thread(standby.promote)
            await drill.goes_on(SECONDS_BEFORE)
            over.set()
            await enqueuer
            while await drill.goes_on(1.0):
                pass

        jobs = {job.row.job_id for job in drill.judge()}
        assert before > 0, drill.explain("nothing was enqueued before")
        assert len(acknowledged) > before, drill.explain("nothing was enqueued after")
        assert not set(acknowledged) - jobs, drill.explain("acknowledged jobs are lost")
        assert not workers.ended, drill.explain("workers ended instead of waiting")
