"""Connections fall silent in the middle of whatever they carry; neither side is told."""

from pathlib import Path
from urllib.parse import urlsplit

from tests.support.drills.drill import Drill
from tests.support.servers.postgres import SETTINGS, killable_server, temporary_database
from tests.support.servers.silent_proxy import silent_proxy

# Room for a batch: where the cut falls, BEGIN may have got through and COMMIT not.
WITHIN_BYTES = 4_000

# Workers wait longer after each failure: were there a cut every moment, they would hardly work.
MOST_CUTS = 6


async def test_jobs_outlive_connections_that_fall_silent(tmp_path: Path, seed: int) -> None:
    with killable_server(SETTINGS) as server, temporary_database(server.url) as url:
        drill = Drill(tmp_path, url, seed)
        await drill.enqueue()

        async with silent_proxy(server.socket) as proxy:
            through = f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(url).path}"
            options = "?answer_timeout=1&connect_timeout=2"
            with drill.workers(url=through + options) as workers:
                await drill.all_are_at_work()
                cuts = 0
                while await drill.goes_on(drill.rng.uniform(1.0, 2.5)):
                    if cuts == MOST_CUTS:
                        continue
                    proxy.silence(lambda: drill.rng.randrange(WITHIN_BYTES))
                    # Now and then even a new connection is taken and not served.
                    proxy.accepts_silently = drill.rng.random() < 0.3
                    await drill.goes_on(drill.rng.uniform(0.2, 1.5))
                    proxy.accepts_silently = False
                    proxy.drop_silent(drill.rng)
                    cuts += 1

        jobs = drill.judge()
        assert proxy.silenced >= 10, drill.explain("too few cuts for this to prove anything")
        repeated = [job for job in jobs if len(job.claims) > 1]
        assert repeated, drill.explain("no cut was noticed")
        assert not workers.ended, drill.explain("workers ended instead of waiting")
