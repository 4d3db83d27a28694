"""What ``retry`` and ``cancel`` share: both change named jobs, or all jobs that fit filters."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer

from server_jobs.cli.confirmation import ask, progress_bar
from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.failures import FAILED, unless_unanswered
from server_jobs.cli.filters import takes_filters
from server_jobs.cli.lookup import JobIdsArgument, the_ids
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import plain, print_json, print_lines, remark
from server_jobs.cli.records import print_records
from server_jobs.cli.signatures import takes
from server_jobs.records.requests import Changed, JobFilter, Skipped, Tally
from server_jobs.records.status import JobStatus
from server_jobs.store.store import Store

BATCH = 500
"""How many jobs one statement changes: it is quick, and workers don't wait long for the rows."""

_SHOWN_REASONS = 10
_SHOWN_JOBS = 50


@dataclass(frozen=True)
class Action:
    """A change of jobs, and the words for it, by the status that a job has afterwards."""

    verb: str
    takes: frozenset[JobStatus]
    done: dict[JobStatus, str]
    change: Callable[[Store, Sequence[str]], Awaitable[Changed]]


_STATUS_AFTER = {
    JobStatus.FAILED: JobStatus.PENDING,
    JobStatus.CANCELLED: JobStatus.PENDING,
    JobStatus.PENDING: JobStatus.CANCELLED,
    JobStatus.RUNNING: JobStatus.RUNNING,
}


@dataclass(frozen=True)
class Request:
    """What a person asked for: which jobs, and how the command goes about it."""

    job_ids: tuple[str, ...]
    wanted: JobFilter
    everything: bool
    dry_run: bool
    yes: bool
    as_json: bool
    database: str | None


@takes_filters
def _request(
    wanted: JobFilter,
    job_ids: JobIdsArgument = None,
    database: DatabaseOption = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Choose every job. Give neither ids nor filters with it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask before changing jobs that filters chose.")
    ] = False,
    as_json: JsonOption = False,
) -> Request:
    return Request(tuple(job_ids or ()), wanted, everything, dry_run, yes, as_json, database)


takes_request = takes("request", _request)
"""Gives a command the options of a Request in place of its parameter ``request``."""


@dataclass
class Outcome:
    """Which jobs were changed, or would be, and which were skipped."""

    action: Action
    ids: dict[JobStatus, list[str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, changed: Changed) -> None:
        """Add what one statement changed and skipped."""
        for job_id, status in changed.statuses.items():
            self.ids.setdefault(status, []).append(job_id)
        self.skipped += changed.skipped

    @property
    def total(self) -> int:
        """How many jobs were changed."""
        return sum(map(len, self.ids.values()))

    def document(self, *, dry_run: bool) -> dict[str, Any]:
        """Return the outcome as JSON, with the newest jobs first."""
        return {
            "dry_run": dry_run,
            **{
                words.replace(" ", "_"): sorted(self.ids.get(status, []), reverse=True)
                for status, words in self.action.done.items()
            },
            "skipped": [
                {"id": skipped.job_id, "status": skipped.status, "reason": skipped.reason}
                for skipped in self.skipped
            ],
        }

    def sentence(self, *, dry_run: bool) -> str:
        """Return the outcome in words: ``12 cancelled, 1 asked to stop, 2 skipped``."""
        first = next(iter(self.action.done))
        parts = [
            f"{len(self.ids.get(status, [])):,} {words}"
            for status, words in self.action.done.items()
            if status is first or self.ids.get(status)
        ]
        if self.skipped:
            parts.append(f"{len(self.skipped):,} skipped")
        return ("nothing was done; without --dry-run: " if dry_run else "") + ", ".join(parts)


async def change(action: Action, request: Request) -> None:
    """Change the jobs that are asked for, and print the outcome. Raises BadParameter and Exit."""
    wanted = _checked(action, request)
    outcome = Outcome(action)
    async with opened_store(existing_database(request.database)) as store:
        if request.job_ids:
            await _change_named(store, request, outcome)
        else:
            await _change_all(store, request, wanted, outcome)
    if request.as_json:
        print_json(outcome.document(dry_run=request.dry_run))
    else:
        print_lines([plain(outcome.sentence(dry_run=request.dry_run))])
    _say_why(outcome.skipped)
    if request.job_ids and outcome.skipped:
        raise typer.Exit(FAILED)


def _checked(action: Action, request: Request) -> JobFilter:
    """Return the filter with the statuses that the action takes. Raises BadParameter."""
    filtered = request.wanted != JobFilter()
    if bool(request.job_ids) + filtered + request.everything > 1:
        raise typer.BadParameter("give either ids, or filters, or --all.", param_hint="ID")
    if not (request.job_ids or filtered or request.everything):
        raise typer.BadParameter(
            f"which jobs? Give ids, or filters such as --name, or --all for every job that can be"
            f" {next(iter(action.done.values()))}.",
            param_hint="ID",
        )
    if others := [status for status in request.wanted.statuses if status not in action.takes]:
        raise typer.BadParameter(
            f"{others[0]} jobs can't be {next(iter(action.done.values()))}; only"
            f" {' and '.join(sorted(action.takes))} ones can.",
            param_hint="--status",
        )
    return replace(request.wanted, statuses=request.wanted.statuses or tuple(sorted(action.takes)))


# ── jobs that are named ──────────────────────────────────────────────────────────────────────


async def _change_named(store: Store, request: Request, outcome: Outcome) -> None:
    ids = await the_ids(store, request.job_ids)
    if request.dry_run:
        outcome.add(await _foreseen(store, outcome.action, ids))
        return
    for start in range(0, len(ids), BATCH):
        await _change_batch(store, ids[start : start + BATCH], outcome)


async def _change_batch(store: Store, ids: Sequence[str], outcome: Outcome) -> None:
    done = " or ".join(outcome.action.done.values())
    if len(ids) == 1:
        advice = (
            f"It may have been {done} all the same, look: server-jobs show {shlex.quote(ids[0])}"
        )
    else:
        advice = (
            f"Up to {len(ids):,} more may have been {done} all the same. The command can be given"
            " again: it skips those."
        )
    with unless_unanswered(advice):
        outcome.add(await outcome.action.change(store, ids))


async def _foreseen(store: Store, action: Action, ids: Sequence[str]) -> Changed:
    """Return what the action would change and skip, judged by the statuses alone."""
    jobs = await store.summaries(ids)
    can_be = next(iter(action.done.values()))
    return Changed(
        {job.id: _STATUS_AFTER[job.status] for job in jobs if job.status in action.takes},
        [
            Skipped(job.id, job.status, f"job {job.id} is {job.status} and can't be {can_be}")
            for job in jobs
            if job.status not in action.takes
        ],
    )


# ── jobs that fit ────────────────────────────────────────────────────────────────────────────


async def _change_all(store: Store, request: Request, wanted: JobFilter, outcome: Outcome) -> None:
    tally = await store.tally(wanted)
    if tally.newest_id is None:
        remark("no jobs that fit")
        return
    if request.dry_run:
        if not request.as_json:
            print_records(await store.list_jobs(wanted, limit=_SHOWN_JOBS))
            if tally.total > _SHOWN_JOBS:
                remark(f"… and {tally.total - _SHOWN_JOBS:,} more")
        async for ids in _batches(store, wanted, tally.newest_id):
            outcome.add(await _foreseen(store, outcome.action, ids))
        return
    if not request.yes:
        ask(_question(outcome.action, tally))
    try:
        with progress_bar() as progress:
            bar = progress.add_task(outcome.action.verb, total=tally.total)
            async for ids in _batches(store, wanted, tally.newest_id):
                await _change_batch(store, ids, outcome)
                progress.advance(bar, len(ids))
    except BaseException:
        remark(f"stopped half-way: {outcome.sentence(dry_run=False)}")
        raise


async def _batches(store: Store, wanted: JobFilter, newest_id: str) -> AsyncIterator[list[str]]:
    """Yield the ids that fit, from this one to older ones. Jobs that came later aren't included."""
    ids = [newest_id]
    while ids:
        yield ids
        ids = await store.list_ids(wanted, before_id=ids[-1], limit=BATCH)


def _question(action: Action, tally: Tally) -> str:
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(tally.counts.items()))
    return f"{action.verb.capitalize()} {tally.total:,} {_jobs(tally.total)} ({counts})?"


def _say_why(skipped: Sequence[Skipped]) -> None:
    for one in skipped[:_SHOWN_REASONS]:
        remark(f"skipped: {one.reason}")
    if len(skipped) > _SHOWN_REASONS:
        remark(f"… and {len(skipped) - _SHOWN_REASONS:,} more; --json has them all")


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"
