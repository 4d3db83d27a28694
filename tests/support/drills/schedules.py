"""A drill of schedulers: hundreds of schedules, processes that are killed, and the judgement."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import LiteralString, TypeAlias

from server_jobs import connect
from server_jobs.schedules import Schedule, ScheduleStore
from tests.support.clock import Clock
from tests.support.databases.audit import AuditedDatabase
from tests.support.databases.raw_sql import run
from tests.support.processes.scheduler import Orders
from tests.support.processes.timeline import ABSENT, Places, moments
from tests.support.processes.worker import ROOT

START = datetime(2019, 4, 6, 6, 0, 30, tzinfo=UTC)
"""In the day and a half from then on Mexico skips an hour, Chile and New Zealand repeat one, and
Lord Howe Island repeats half of one."""

PROCESSES = 8
PATIENCE_SECONDS = 150.0

SKIPPING = "America/Mexico_City"
REPEATING = "America/Santiago", "Australia/Lord_Howe", "Pacific/Auckland"
STEADY = "UTC", "Asia/Kathmandu"
_ZONES = SKIPPING, *REPEATING, *STEADY
_EXPRESSIONS = (
    "*/20 * * * *",
    "H * * * *",
    "H */2 * * *",
    "30 1,2,3 * * *",
    "15 0-4 * * *",
    "*/30 2 * * *",
    "H H * * *",
    "0 6-22/4 * * SAT,SUN",
    "5,35 1-3 6-8 4 *",
    "@hourly",
    "0 */3 * * SUN#1",
)
_JITTERS = 0.0, 0.0, 45.0

_MADE: LiteralString = """
SELECT name, cron_fire_at, scheduled_for FROM jobs LEFT JOIN cron_jobs ON cron_job_id = cron_jobs.id
"""

Fires: TypeAlias = Counter[tuple[str, datetime]]


def schedules(number: int, catchups: tuple[str, ...]) -> list[Schedule]:
    """As various as they come; where all is allowed, each fire time makes a job."""
    found = [
        Schedule(
            name=f"schedule-{i:03}",
            job_name="Scheduled",
            cron_expression=_EXPRESSIONS[i % len(_EXPRESSIONS)],
            time_zone=_ZONES[i % len(_ZONES)],
            catchup=catchups[i % len(catchups)],
            catchup_window_seconds=None,
            catchup_limit=10_000,
            jitter_seconds=_JITTERS[i % len(_JITTERS)],
            # Some begin on the way, and some end.
            starts_at=START + timedelta(hours=7, minutes=11) if i % 17 == 0 else None,
            ends_at=START + timedelta(hours=19, minutes=7) if i % 19 == 0 else None,
        )
        for i in range(number)
    ]
    for schedule in found:
        schedule.check()
    return found


class ScheduleDrill:
    """On a migrated database, at which others may be away."""

    def __init__(
        self, folder: Path, url: str, seed: int, *, hours: int, endures: bool = False
    ) -> None:
        self._folder = folder
        self._url = url
        self._seed = seed
        self._end = START + timedelta(hours=hours)
        self._endures = endures
        self._last = len(moments(START, self._end, seed)) - 1
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        self._places = Places(folder / "progress", PROCESSES)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._mortals = 0
        self._killed: set[int] = set()
        self._schedules: list[Schedule] = []
        self._logs: list[Path] = []
        self.rng = random.Random(seed)
        self.database = AuditedDatabase(url)
        self.fired_by = 0
        """At how many of the places jobs were made."""
        self.kills = 0
        self.died_in_batch = 0
        self.failed: list[str] = []

    async def add(self, found: list[Schedule]) -> None:
        """Of one in ten, the schedulers are left to compute the first fire time."""
        self._schedules = found
        clock = Clock()
        clock.value = START
        database = connect(self._url)
        store = ScheduleStore(database, clock.expression)
        for schedule in found:
            await store.put(schedule)
        await run(database, "UPDATE cron_jobs SET next_run_at = NULL WHERE name LIKE '%5'")
        await database.close()

    @contextmanager
    def running(self, *, mortals: int) -> Iterator[None]:
        """The processes, until the end of the block; the mortal ones die in a batch, once."""
        self._mortals = mortals
        for place in range(PROCESSES):
            dies = self.rng.randrange(20, 400) if place < mortals else None
            self._processes.append(self._start(place, dies))
        try:
            yield
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
            self.fired_by = sum(self._places.count(place) > 0 for place in range(PROCESSES))
            self._places.close()

    def goes_on(self, seconds: float) -> bool:
        """Let so much time pass, replacing who was killed → whether any still walks."""
        until = time.monotonic() + seconds
        while True:
            self._keep_up()
            if all(process.poll() is not None for process in self._processes):
                return False
            if time.monotonic() > self._deadline:
                raise AssertionError(self.explain("the schedulers didn't come to the end"))
            if time.monotonic() > until:
                return True
            time.sleep(0.005)

    def all_are_at_work(self) -> None:
        """Wait for the first tick of each."""
        while self._places.slowest() < 1 and self.goes_on(0.01):
            pass

    def kill_one(self) -> None:
        """SIGKILL, wherever it is; who dies in a batch is left to that."""
        others = self._processes[self._mortals :]
        walking = [process for process in others if process.poll() is None]
        if walking:
            process = self.rng.choice(walking)
            self._killed.add(process.pid)
            process.kill()
            process.wait()

    def judge(self) -> Fires:
        """Each fire time has one job, made when the schedule says; else AssertionError."""
        due = {
            (schedule.name, fire_time): schedule.delay_of(fire_time)
            for schedule in self._schedules
            for fire_time in takewhile(lambda t: t <= self._end, schedule.fire_times(START))
        }
        made: Fires = Counter()
        found = list(self.failed)
        for name, fire_at, scheduled_for in self.database.query(_MADE):
            fire_time = as_utc(fire_at)
            made[name, fire_time] += 1
            delay = due.get((name, fire_time))
            if delay is not None and as_utc(scheduled_for) != fire_time + delay:
                found.append(f"{name} at {fire_time} is put off until {scheduled_for}")
        found += [f"{tick}: {times} jobs" for tick, times in made.items() if times > 1]
        found += [f"{tick} isn't a fire time" for tick in made.keys() - due.keys()]
        found += [f"{tick} has no job" for tick in due.keys() - made.keys()]
        if found:
            raise AssertionError(self.explain(f"{len(found)} complaints", *found[:20]))
        return made

    def explain(self, *what: str) -> str:
        """A message for an assertion, with all that helps to understand it."""
        lines = [*what, f"randomness: FAULTS_SEED={self._seed}"]
        lines.append(f"{self.kills} killed, {self.died_in_batch} died in a batch")
        for log in self._logs:
            said = log.read_text(errors="replace").splitlines()
            lines += [f"── {log.name}", *said[-12:]] if said else []
        return "\n".join(lines)

    def said(self) -> list[str]:
        """All warnings of all processes."""
        return [line for log in self._logs for line in log.read_text().splitlines()]

    def _keep_up(self) -> None:
        for place, process in enumerate(self._processes):
            status = process.poll()
            if status is None or status == 0:
                continue
            if process.pid in self._killed:
                self.kills += 1
            elif status == -signal.SIGKILL:
                self.died_in_batch += 1
            else:
                self.failed.append(f"{process.pid} with status {status}")
            self._places.reach(place, ABSENT)
            self._processes[place] = self._start(place, None)

    def _start(self, place: int, dies_in_batch: int | None) -> subprocess.Popen[bytes]:
        orders = Orders(
            database_url=self._url,
            progress=str(self._folder / "progress"),
            places=PROCESSES,
            place=place,
            start=START.isoformat(),
            end=self._end.isoformat(),
            seed=self._seed,
            dies_in_batch=dies_in_batch,
            endures=self._endures,
        )
        path = self._folder / f"scheduler-{len(self._logs)}.log"
        self._logs.append(path)
        with path.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *orders.arguments()],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def as_utc(moment: datetime | str) -> datetime:
    """A moment as psycopg gives it, or as SQLite stores it."""
    found = datetime.fromisoformat(str(moment))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
