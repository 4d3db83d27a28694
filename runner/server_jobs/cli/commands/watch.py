"""``watch``: shows jobs until they have ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Protocol, TypeAlias

import typer

from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.failures import FAILED
from server_jobs.cli.filters import takes_filters
from server_jobs.cli.lookup import JobIdsArgument, the_ids
from server_jobs.cli.options import DatabaseOption
from server_jobs.cli.output import remark
from server_jobs.cli.views import Change, JsonView, LiveView, PlainView, View, Watched
from server_jobs.errors import DatabaseUnavailableError, InvalidOptionError
from server_jobs.masks import mask_passwords
from server_jobs.monitoring.monitor import LiveJobs, Monitor
from server_jobs.records.requests import JobFilter
from server_jobs.records.status import LIVE, JobStatus
from server_jobs.store.store import Store

MOST = 10_000
"""How many jobs can be watched, at most: each look reads all of them."""

Look: TypeAlias = tuple[Sequence[Change], Sequence[LiveJobs] | None]
"""What changed since the last look, and the queues if they are watched."""


@takes_filters
def watch(
    wanted: JobFilter,
    job_ids: JobIdsArgument = None,
    database: DatabaseOption = None,
    *,
    interval: Annotated[
        float,
        typer.Option(
            "--interval",
            envvar="SERVER_JOBS_WATCH_INTERVAL",
            metavar="SECONDS",
            min=0.1,
            max=3_600,
            help="How often to look, 0.1 to 3,600.",
        ),
    ] = 0.5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line for each change.")
    ] = False,
) -> None:
    """Watch jobs until they have ended: bars on a terminal, lines elsewhere.

    With filters, pending and running jobs that fit are watched, also those that
    are enqueued later. The exit status is 0 if all of them completed, and 1 if
    one failed, was cancelled, or had its record deleted. With neither ids nor
    filters, all queues and all running jobs are shown until Ctrl-C.

    server-jobs watch 0197a3c2-5b1e-7f04 && echo done
    server-jobs watch --correlation-id order-1017
    server-jobs watch --queue mail --json | jq -r .status
    server-jobs watch
    """
    if job_ids and wanted != JobFilter():
        raise typer.BadParameter("give either ids or filters.", param_hint="ID")
    if ended := [status for status in wanted.statuses if status not in LIVE]:
        raise typer.BadParameter(
            f"{ended[0]} jobs have ended: there is nothing to watch.", param_hint="--status"
        )
    view = JsonView() if as_json else LiveView() if sys.stdout.isatty() else PlainView()
    if not asyncio.run(_watch(job_ids or (), wanted, database, interval, view)):
        raise typer.Exit(FAILED)


async def _watch(
    prefixes: Sequence[str], wanted: JobFilter, url: str | None, interval: float, view: View
) -> bool:
    """Watch until the end → whether every watched job has completed."""
    async with opened_store(existing_database(url)) as store:
        subject: Subject
        if prefixes:
            subject = Named(store, await the_ids(store, prefixes))
        elif wanted != JobFilter():
            subject = Fitting(store, wanted)
        else:
            subject = Everything(store)
        watched = Watched()
        with view:
            view.show(watched, *await subject.look(watched))
            while watched.live or subject.endless:
                await asyncio.sleep(interval)
                view.show(watched, *await _look_again(subject, watched, interval))
    if not watched.counts():
        remark("nothing to watch: no pending or running job fits")
    return watched.all_completed


async def _look_again(subject: Subject, watched: Watched, interval: float) -> Look:
    """Look again. A watch may last for hours, so it outlives a restart of the database."""
    told = False
    while True:
        try:
            return await subject.look(watched)
        except DatabaseUnavailableError as error:
            if not told:
                remark(f"still trying: {mask_passwords(str(error))}")
            told = True
            await asyncio.sleep(interval)


# ── what is watched ──────────────────────────────────────────────────────────────────────────


class Subject(Protocol):
    """The jobs that a watch looks at."""

    endless: bool

    async def look(self, watched: Watched) -> Look:
        """Read the jobs → what changed."""


class Named:
    """Jobs that are given by their ids."""

    endless = False

    def __init__(self, store: Store, ids: Sequence[str]) -> None:
        self._store = store
        self._ids = ids

    async def look(self, watched: Watched) -> Look:
        """Read the jobs that hadn't ended."""
        ids = watched.live or self._ids
        return watched.look(await self._store.summaries(ids), asked=ids), None


class Fitting:
    """Pending and running jobs that fit a filter, also those that are enqueued later."""

    endless = False

    def __init__(self, store: Store, wanted: JobFilter) -> None:
        self._store = store
        self._wanted = wanted

    async def look(self, watched: Watched) -> Look:
        """Read the jobs that fit now, and those that fitted earlier and hadn't ended."""
        found = await self._store.list_live(self._wanted, limit=MOST + 1)
        if len(found) > MOST:
            raise InvalidOptionError(
                f"more than {MOST:,} pending and running jobs fit: give more filters, or none to"
                " watch the queues"
            )
        there = {job.id for job in found}
        left = [job_id for job_id in watched.live if job_id not in there]
        return watched.look([*found, *await self._store.summaries(left)], asked=left), None


class Everything:
    """All queues, and all running jobs."""

    endless = True

    def __init__(self, store: Store) -> None:
        self._fitting = Fitting(store, JobFilter(statuses=(JobStatus.RUNNING,)))
        self._monitor = Monitor(store.database)

    async def look(self, watched: Watched) -> Look:
        """Read both. A job that stopped running is reported once, and then forgotten."""
        queues = await self._monitor.live()
        changes, _ = await self._fitting.look(watched)
        watched.forget_what_does_not_run()
        return changes, queues
