"""Workers whose clocks are an hour off, ahead and behind, beside one whose clock is right."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from tests.support.drills.drill import JOBS, Drill
from tests.support.processes.supervisor import AS_A_USER_WOULD

WRONG = ["-m", "tests.support.processes.worker_with_wrong_clock"]
ENTRIES = (AS_A_USER_WOULD, [*WRONG, "3600"], [*WRONG, "-3600"])
SLACK = timedelta(seconds=2)

_LOST = "SELECT count(*) FROM jobs WHERE CAST(errors AS text) LIKE '%lease_expired%'"
_MOMENTS = "SELECT created_at, scheduled_for, handler_started_at, completed_at FROM jobs"


async def test_a_wrong_clock_loses_no_lease_and_no_time(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    drill = Drill(tmp_path, database_url, seed)
    before = datetime.now(UTC)
    await drill.enqueue(follow_ups=0.1)

    # A lease that a machine under load keeps too; an hour is far more.
    with drill.workers("--lease", "60", entries=ENTRIES) as workers:
        while await drill.goes_on(1):
            pass

    jobs = drill.judge()
    clocks = [effect.at for job in jobs for effect in job.effects]
    assert max(clocks) - min(clocks) > 7_000, drill.explain("no clock was two hours from another")
    assert len(jobs) > JOBS, drill.explain("no job was enqueued by a handler")
    assert drill.database.query(_LOST) == [(0,)], drill.explain("a lease was taken for expired")
    after = datetime.now(UTC)
    for moments in drill.database.query(_MOMENTS):
        in_order = [before, *map(as_utc, moments), after]
        for earlier, later in pairwise(in_order):
            # Statements of two sessions that overlap may have begun the other way round.
            assert earlier < later + SLACK, drill.explain(f"not in order: {in_order}")
    assert not workers.ended, drill.explain("workers ended that nobody had killed")


def as_utc(moment: datetime | str) -> datetime:
    """A moment as psycopg gives it, or as SQLite stores it."""
    found = datetime.fromisoformat(str(moment))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
