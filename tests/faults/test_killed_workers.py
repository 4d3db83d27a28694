"""Workers are killed or frozen, at random, in the middle of whatever they do."""

from pathlib import Path

from tests.support.drills.drill import LEASE_SECONDS, Drill

# Enough; what is left may be drained in peace.
MOST_FAULTS = 12


async def test_jobs_outlive_workers_that_are_killed_and_those_that_come_back_late(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    drill = Drill(tmp_path, database_url, seed)
    await drill.enqueue()

    with drill.workers() as workers:
        while await drill.goes_on(drill.rng.uniform(0.5, 1.5)):
            if workers.kills + workers.freezes >= MOST_FAULTS:
                continue
            if workers.kills < 2 * workers.freezes + 2:
                workers.kill_one(drill.rng)
            else:
                workers.freeze_one(drill.rng, drill.rng.uniform(1, 2) * LEASE_SECONDS)

    jobs = drill.judge()
    repeated = [job for job in jobs if len(job.claims) > 1]
    assert workers.kills >= 3, drill.explain("too few were killed for this to prove anything")
    assert workers.freezes >= 1, drill.explain("none was frozen")
    assert repeated, drill.explain("whoever was killed held nothing")
    assert not workers.ended, drill.explain("workers ended that nobody had killed")
