"""Workers are killed, at random and again and again, in the middle of whatever they do."""

from pathlib import Path

from tests.support.drill import Drill


async def test_jobs_outlive_workers_that_are_killed(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    drill = Drill(tmp_path, database_url, seed)
    await drill.enqueue()

    with drill.workers() as workers:
        while await drill.goes_on(drill.rng.uniform(0.5, 1.5)):
            workers.kill_one(drill.rng)

    jobs = drill.judge()
    rescued = [job for job in jobs if len(job.claims) > 1]
    assert workers.kills >= 5, drill.explain("too few were killed for this to prove anything")
    assert rescued, drill.explain("whoever was killed held nothing")
    assert not workers.ended, drill.explain("workers ended that nobody had killed")
