"""One trial: hostile rows beside good ones, and everything that reads them is run over them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from server_jobs import connect
from server_jobs.sql.statement import Row, Statement
from server_jobs.worker import LocalWorker, WorkerConfig
from server_jobs_cloudflare import CloudflareWorkerBackend, EdgeConfig
from server_jobs_operator.cluster.names import JOB_ID, resources_path
from server_jobs_operator.leadership import leader
from server_jobs_operator.operator import Operator
from server_jobs_operator.resources.known import Keeper
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.hostile.app import registry
from tests.hostile.places import Kind, Place
from tests.hostile.rows import (
    DEAD_WORKERS,
    GOOD_JOBS,
    GOOD_SCHEDULES,
    OLD_RECORDS,
    HostileRow,
)
from tests.hostile.values import SQLITE
from tests.operator.fake_kube import FakeKube, job_runner_body
from tests.operator.samples import SETTINGS
from tests.support.cli import Cli
from tests.support.databases.pass_through import PassingDatabase

PATIENCE_SECONDS = 8.0
"""By then all good jobs have ended: rescues and staging take a second or two."""

LONGEST_STEP = 1.0
"""The seconds that a statement, or anything else on the event loop, may take."""

MOST_MEMORY = 300 * 2**20
"""The bytes by which a trial may grow."""

# A command starts an app, and a list of many rows is long.
_COMMAND_SECONDS = 1.5
_SECONDS_PER_ROW = 0.004


Say = Callable[[str], None]
"""Takes a complaint."""


_SLOW = "slow: "


@dataclass
class Report:
    """What a trial found."""

    refused: list[HostileRow] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    """What took long; these are complaints only if that is so again."""

    def say(self, complaint: str) -> None:
        """Take a complaint."""
        (self.slow if complaint.startswith(_SLOW) else self.complaints).append(complaint)


def run_trial(
    kind: Kind, rows: Sequence[HostileRow], *, shown: int | None = None, whole: bool = True
) -> Report:
    """Run everything over these rows. At most ``shown`` of them are shown one by one.

    Unless it is the ``whole`` trial, it ends after the first part that complains. What takes long
    is tried once more, since the machine may have been busy with something else.
    """
    report = _run_once(kind, rows, shown, whole)
    if report.slow and not report.complaints:
        report = _run_once(kind, rows, shown, whole)
    report.complaints += report.slow
    return report


def _run_once(kind: Kind, rows: Sequence[HostileRow], shown: int | None, whole: bool) -> Report:
    report = Report()
    filled, report.refused = kind.filled(rows)
    refused = {row.number for row in report.refused}
    taken = [row for row in rows if row.number not in refused]
    say = report.say
    with _bounded_memory(say), _logs(say):
        for run in (_work_and_command, _lead_twice, _tick_until_done):
            if (report.complaints or report.slow) and not whole:
                break
            with kind.copied(filled) as place:
                run(place, taken, say, shown)
    return report


# ── the worker ───────────────────────────────────────────────────────────────────────────────


def _work_and_command(
    place: Place, rows: Sequence[HostileRow], say: Say, shown: int | None
) -> None:
    _work(place, rows, say)
    _command(place, rows, say, shown)


def _work(place: Place, rows: Sequence[HostileRow], say: Say) -> None:
    asyncio.run(_guarded("worker", _work_until_done(place, rows, say), say))


async def _work_until_done(place: Place, rows: Sequence[HostileRow], say: Say) -> None:
    database = TimedDatabase(place.url, say)
    config = WorkerConfig(
        concurrency=20, poll_interval=0.2, lease=30, grace=1, prune_interval=0.4, max_releases=3
    )
    worker = LocalWorker(database=database, job_registry=registry, config=config)
    running = asyncio.create_task(worker.run_until_stopped())
    watching = asyncio.create_task(_watch_the_loop("worker", say))
    await _until(lambda: running.done() or not _missing(place))
    # One more round of all that comes round once a second.
    await asyncio.wait({running}, timeout=1.1)
    if running.done():
        say(f"worker: it ended by itself: {running.exception()!r}")
    else:
        worker.stop()
        await asyncio.wait_for(running, 10)
    watching.cancel()
    await database.close()
    for missing in _missing(place):
        say(f"worker: {missing}")
    given = {row.id for row in rows if row.state == "failed"}
    for (job_id,) in place.read(
        "SELECT id FROM jobs WHERE status = 'failed' AND coalesce(error, '') = ''"
        " AND id LIKE 'hostile-%'"
    ):
        if job_id not in given:
            say(f"worker: {job_id} has failed without an error")


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until it is true, or for as long as we are patient."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.05)


def _missing(place: Place) -> list[str]:
    """What good rows haven't got yet."""

    def count(where: str) -> int:
        ((found,),) = place.read(f"SELECT count(*) FROM jobs WHERE {where}")
        return int(found)

    done = "status = 'completed'"
    good = count(f"id LIKE 'good-%' AND {done}")
    dead = count(f"id LIKE 'dead-%' AND {done}")
    fired = place.read(
        f"SELECT DISTINCT cron_job_id FROM jobs WHERE cron_job_id LIKE 'plan-%' AND {done}"
    )
    old = count("id LIKE 'old-%'")
    return [
        problem
        for wrong, problem in (
            (good < GOOD_JOBS, f"{GOOD_JOBS - good} good jobs aren't done"),
            (dead < DEAD_WORKERS, f"{DEAD_WORKERS - dead} jobs of dead workers aren't done"),
            (len(fired) < GOOD_SCHEDULES, f"{GOOD_SCHEDULES - len(fired)} schedules didn't fire"),
            (old > 0, f"{old} of {OLD_RECORDS} old records weren't pruned"),
        )
        if wrong
    ]


# ── the command line ─────────────────────────────────────────────────────────────────────────


def _command(place: Place, rows: Sequence[HostileRow], say: Say, shown: int | None) -> None:
    cli = Cli(app="tests.hostile.app:registry", database_url=place.url)
    allowed = _COMMAND_SECONDS + _SECONDS_PER_ROW * len(rows)

    def run(*arguments: str, may_refuse: bool = False) -> None:
        began = time.process_time()
        typed = shlex.join(arguments)[:200]
        try:
            result = cli(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, that is the finding
            say(f"server-jobs {typed}: {type(error).__name__}: {str(error)[:200]}")
            return
        took = time.process_time() - began
        if took > allowed:
            say(f"{_SLOW}server-jobs {typed} took {took:.1f} s")
        if result.exit_code != 0 and not may_refuse:
            say(f"server-jobs {typed}: exit code {result.exit_code}: {result.output[-300:]!r}")
        if any(character in result.output for character in "\x1b\x07\x9b"):
            say(f"server-jobs {typed}: a terminal would obey what it prints")

    for arguments in (
        ("list", "--limit", "10000"),
        ("list", "--limit", "10000", "--json"),
        ("list", "--status", "pending", "--ids"),
        ("stats",),
        ("stats", "--json"),
        ("schedule", "list"),
        ("schedule", "list", "--json"),
    ):
        run(*arguments)
    run("doctor", may_refuse=True)
    ids = [job_id for (job_id,) in place.read("SELECT id FROM jobs WHERE id LIKE 'hostile-%'")]
    for job_id in _some(ids, shown):
        run("show", job_id)
        run("show", job_id, "--json")
    names = place.read("SELECT name FROM cron_jobs WHERE name LIKE 'hostile-%'")
    for (name,) in _some(names, shown):
        run("schedule", "show", name)
        run("schedule", "explain", name, may_refuse=True)
        run("schedule", "disable", name, may_refuse=True)
        run("schedule", "enable", name, may_refuse=True)
        run("schedule", "run-now", name, may_refuse=True)
    for status in ("failed", "cancelled"):
        run("retry", "--status", status, "--yes", may_refuse=True)
    run("cancel", "--all", "--yes", may_refuse=True)
    _work(place, rows, lambda _: None)  # what was asked to cancel and has no holder
    run("cancel", "--all", "--yes", may_refuse=True)
    run("prune", "--older-than", "0s", "--yes")
    for job_id, status in place.read(
        "SELECT id, status FROM jobs WHERE status <> 'running'"
        f" AND (completed_at IS NULL OR completed_at < {_now(place)})"
    ):
        say(f"server-jobs: {job_id!r} can't be removed; it is {status}")
    for (name,) in _some(names, shown):
        run("schedule", "remove", name, "--yes")
    if shown is None:
        for (name,) in place.read("SELECT name FROM cron_jobs WHERE name LIKE 'hostile-%'"):
            say(f"server-jobs: the schedule {name!r} can't be removed")


def _now(place: Place) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f','now')" if place.dialect == SQLITE else "now()"


def _some(found: Sequence[Any], most: int | None) -> Sequence[Any]:
    if most is None or len(found) <= most:
        return found
    return found[:: -(-len(found) // most)]


# ── the operator ─────────────────────────────────────────────────────────────────────────────


def _lead_twice(place: Place, rows: Sequence[HostileRow], say: Say, shown: int | None) -> None:
    if place.url.startswith("sqlite"):
        return  # a file can't serve a cluster
    asyncio.run(_guarded("operator", _operate(place, say), say))


async def _operate(place: Place, say: Say) -> None:
    """Lead once, and after a restart once more: a launch is created, or adopted."""
    kube = FakeKube()
    kube.objects[resources_path("jobrunners", "jobs", "default")] = job_runner_body(
        maxConcurrency=5_000
    )
    with patch.object(leader, "KopfWatch", _FakeKopfWatch):
        for term in ("operator", "operator, restarted"):
            await _lead(kube, place, term, say)
    if missing := _not_launched(kube):
        say(f"operator: {missing} good jobs weren't launched")


def _not_launched(kube: FakeKube) -> int:
    launched = {job["metadata"]["labels"].get(JOB_ID) for job in kube.all("jobs")}
    return sum(f"good-{number:02}" not in launched for number in range(GOOD_JOBS))


async def _lead(kube: FakeKube, place: Place, term: str, say: Say) -> None:
    database = TimedDatabase(place.url, say)
    settings = OperatorSettings(
        install_id=SETTINGS.install_id,
        own_namespace=SETTINGS.own_namespace,
        namespaces=SETTINGS.namespaces,
        creates_per_second=10_000.0,
        max_jobs=10_000,
        poll_interval=0.2,
    )
    stop = asyncio.Event()
    operator = Operator(kube, database, settings, Metrics(), Health())
    running = asyncio.ensure_future(operator.run(stop))
    watching = asyncio.create_task(_watch_the_loop(term, say))
    await _until(lambda: running.done() or not _not_launched(kube))
    await asyncio.wait({running}, timeout=0.5)
    if running.done():
        say(f"{term}: it ended by itself: {running.exception()!r}")
    else:
        stop.set()
        await asyncio.wait_for(running, 20)
    watching.cancel()
    await database.close()


class _FakeKopfWatch:
    """Instead of kopf, which needs a real API server: nothing changes."""

    def __init__(self, term: Term, keepers: Mapping[str, Keeper]) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()


# ── the edge ─────────────────────────────────────────────────────────────────────────────────


def _tick_until_done(place: Place, rows: Sequence[HostileRow], say: Say, shown: int | None) -> None:
    if place.dialect != SQLITE:
        return  # no database at the edge speaks another dialect
    with contextlib.redirect_stdout(io.StringIO()):  # the platform's log
        asyncio.run(_guarded("edge", _tick(place, say), say))


async def _tick(place: Place, say: Say) -> None:
    """Tick until the good jobs are done: each tick has a bound on what it executes."""
    missing = GOOD_JOBS
    for _ in range(8):
        database = TimedDatabase(place.url, say)
        config = EdgeConfig(queues=("default",), concurrency=20)
        backend = CloudflareWorkerBackend(database=database, job_registry=registry, config=config)
        await backend.tick()
        await database.close()
        ((done,),) = place.read(
            "SELECT count(*) FROM jobs WHERE id LIKE 'good-%' AND status = 'completed'"
        )
        missing = GOOD_JOBS - done
        if not missing:
            return
    say(f"edge: {missing} good jobs aren't done after 8 ticks")


# ── what is looked at meanwhile ──────────────────────────────────────────────────────────────


class TimedDatabase(PassingDatabase):
    """Complains of statements that take long."""

    def __init__(self, url: str, say: Say) -> None:
        super().__init__(connect(url))
        self._say = say

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        began = time.monotonic()
        try:
            return await super()._run(statements)
        finally:
            took = time.monotonic() - began
            if took > LONGEST_STEP:
                first = str(statements[0].shape).split("\n")[0][:80]
                self._say(f"{_SLOW}a statement took {took:.1f} s: {first}")


async def _watch_the_loop(what: str, say: Say) -> None:
    while True:
        began, used = time.monotonic(), time.thread_time()
        await asyncio.sleep(0.05)
        late, busy = time.monotonic() - began - 0.05, time.thread_time() - used
        # Both: what others do to the machine isn't ours, nor is what a handler waits for.
        if late > LONGEST_STEP and busy > LONGEST_STEP:
            say(f"{_SLOW}the event loop of {what} stood still for {late:.1f} s")


async def _guarded(what: str, work: Any, say: Say) -> None:
    try:
        async with asyncio.timeout(60):
            await work
    except Exception as error:  # noqa: BLE001 - whatever it is, that is the finding
        say(f"{what}: {type(error).__name__}: {str(error)[:300]}")


@contextlib.contextmanager
def _logs(say: Say) -> Iterator[None]:
    """Complain of errors that our code calls unexpected, and of asyncio's own."""
    handler = _Complains(say)
    loggers = [logging.getLogger(name) for name in ("server_jobs", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Complains(logging.Handler):
    def __init__(self, say: Say) -> None:
        super().__init__(logging.ERROR)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "unexpected error" in message or record.name == "asyncio":
            kind, error, _ = record.exc_info or (None, None, None)
            self._say(f"log: {message[:200]} {kind.__name__ if kind else ''} {str(error)[:200]}")


@contextlib.contextmanager
def _bounded_memory(say: Say) -> Iterator[None]:
    """Linux tells the most memory that a process has had since it was told to forget."""
    forget, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not forget.exists():
        yield
        return
    forget.write_text("5")
    before = _peak(status)
    yield
    grown = _peak(status) - before
    if grown > MOST_MEMORY:
        say(f"memory grew by {grown / 2**20:.0f} MB")


def _peak(status: Path) -> int:
    (line,) = [one for one in status.read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
