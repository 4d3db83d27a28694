"""A drill: thousands of jobs, workers that are replaced as they end, faults, and the judgement."""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import psycopg

from server_jobs import connect
from server_jobs.migrate import migrate
from tests.support.databases.audit import AuditedDatabase
from tests.support.drills.app import MEANT_TO_FAIL, Task, deaf, effects, listening, recording
from tests.support.drills.judge import FINISHED, History, complaints, histories
from tests.support.processes.supervisor import AS_A_USER_WOULD, Supervisor, supervised

JOBS = 5_000
LONG_JOBS = 80
PORTION = 120

PATIENCE_SECONDS = 150.0
"""After this a drill that hasn't ended counts as stuck. It is spent only on failures."""

WORKERS = 3
CONCURRENCY = 12
LEASE_SECONDS = 2

_UNFINISHED = "SELECT count(*) FROM jobs WHERE completed_at IS NULL"


class Drill:
    """On an empty database, reached at ``url`` by whatever faults don't concern."""

    def __init__(self, folder: Path, url: str, seed: int) -> None:
        self._folder = folder
        self._url = url
        self._seed = seed
        self.rng = random.Random(seed)
        self.database = AuditedDatabase(url)
        self._supervisors: list[Supervisor] = []
        self._deadline = time.monotonic() + PATIENCE_SECONDS

    async def enqueue(self, *, follow_ups: float = 0.0) -> None:
        """Half of the jobs listen and half are deaf; one in fifty fails before it succeeds.

        ``follow_ups`` is the share of the listening ones that enqueue another job.
        """
        migrate(self._url)
        self.database.install()
        database = connect(self._url)
        kinds = listening, deaf
        for job in kinds:
            job.set_database(database)
        for portion in range((JOBS - LONG_JOBS) // PORTION):
            tasks = [self._task(0.0, 0.08, follow_ups) for _ in range(PORTION)]
            await kinds[portion % 2].later_many(tasks)
        # At any time some hold a lease for long. They go first, the second time too: who comes
        # back late is to find them run by another.
        for second, job in product(range(10), kinds):
            tasks = [self._task(LEASE_SECONDS, 2 * LEASE_SECONDS) for _ in range(LONG_JOBS // 20)]
            await job.later_many(tasks, delay=second, priority=1)
        await database.close()

    def _task(self, least: float, most: float, follow_ups: float = 0.0) -> Task:
        return Task(
            seconds=self.rng.uniform(least, most),
            failures=1 if self.rng.random() < 0.02 else 0,
            follow_up=1.5 if self.rng.random() < follow_ups else None,
        )

    @contextmanager
    def workers(
        self,
        *options: str,
        url: str | None = None,
        entries: tuple[list[str], ...] = (AS_A_USER_WOULD,) * WORKERS,
    ) -> Iterator[Supervisor]:
        """Workers, until the end of the block."""
        usual = ("--lease", str(LEASE_SECONDS), "--concurrency", str(CONCURRENCY), *options)
        with supervised(self._folder, url or self._url, *usual, entries=entries) as supervisor:
            self._supervisors.append(supervisor)
            yield supervisor

    async def goes_on(self, seconds: float) -> bool:
        """Let so much time pass, replacing workers that end → whether any job hasn't ended."""
        until = time.monotonic() + seconds
        while True:
            for supervisor in self._supervisors:
                supervisor.keep_up()
            if self._unfinished() == 0:
                return False
            if time.monotonic() > self._deadline:
                raise AssertionError(self._report(["the jobs didn't end in time"]))
            left = until - time.monotonic()
            if left <= 0:
                return True
            await asyncio.sleep(min(left, 0.25))

    async def all_are_at_work(self) -> None:
        """Wait for each worker's first job; one that finds no database at its start ends."""
        while len(recording(self._folder)) < WORKERS and await self.goes_on(0.1):
            pass

    def judge(self) -> list[History]:
        """Raises AssertionError with all that helps to understand it; else what happened."""
        known = histories(self.database.rows(), self.database.transitions(), effects(self._folder))
        found = [text for history in known for text in complaints(history)]
        if found:
            raise AssertionError(self._report(found))
        return known

    def explain(self, what: str) -> str:
        """A message for an assertion of the drill's own."""
        return self._report([what])

    def _unfinished(self) -> int | None:
        try:
            ((count,),) = self.database.query(_UNFINISHED)
            return int(count)
        except (sqlite3.Error, psycopg.Error):
            return None  # it is away just now; that is what the drill is about

    def _report(self, found: list[str]) -> str:
        lines = [f"{len(found)} complaints, the first of them:", *found[:20]]
        try:
            rows = self.database.rows()
            counts = Counter(row.status for row in rows)
            claims = Counter(row.fence for row in rows)
            lines += [f"by status: {dict(counts)}", f"by number of claims: {dict(claims)}"]
            lines += [f"not ended: {row}" for row in rows if row.status not in FINISHED][:10]
        except (sqlite3.Error, psycopg.Error) as error:
            lines.append(f"the rows can't be read: {error}")
        lines.append(f"randomness: FAULTS_SEED={self._seed}")
        for supervisor in self._supervisors:
            lines.append(
                f"{supervisor.kills} workers killed; of themselves ended {supervisor.ended}"
            )
            for log in supervisor.logs[-2 * WORKERS :]:
                said = log.read_text(errors="replace").splitlines()
                lines.append(f"── {log.name}")
                lines += [line for line in said if MEANT_TO_FAIL not in line][-12:]
        return "\n".join(lines)
