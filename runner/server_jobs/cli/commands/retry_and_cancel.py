"""``retry`` and ``cancel``: jobs that are named, or all that fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeAlias

import typer

from server_jobs.cli.confirmation import ask, progress_bar
from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.failures import FAILED
from server_jobs.cli.filters import takes_filters
from server_jobs.cli.lookup import JobIdsArgument, the_ids
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import plain, print_json, print_lines, remark
from server_jobs.cli.records import print_records
from server_jobs.records.requests import Changed, JobFilter, Skipped, Tally
from server_jobs.records.status import LIVE, RETRYABLE, JobStatus
from server_jobs.store.store import Store

BATCH = 500
"""Jobs of one statement: enough to be quick, few enough that workers don't wait for their rows."""

_SHOWN_REASONS = 10
_SHOWN_JOBS = 50

AllOption: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Every job, where neither ids nor filters are given.")
]
DryRunOption: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]
YesOption: TypeAlias = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask, where jobs are chosen by filters.")
]


@dataclass(frozen=True)
class Action:
    """What is done to jobs, and the words for it, by the status that a job then has."""

    verb: str
    takes: frozenset[JobStatus]
    done: dict[JobStatus, str]
    change: Callable[[Store, Sequence[str]], Awaitable[Changed]]


RETRY = Action("retry", RETRYABLE, {JobStatus.PENDING: "retried"}, Store.retry_many)
CANCEL = Action(
    "cancel",
    LIVE,
    {JobStatus.CANCELLED: "cancelled", JobStatus.RUNNING: "asked to stop"},
    Store.cancel_many,
)
_STATUS_AFTER = {
    JobStatus.FAILED: JobStatus.PENDING,
    JobStatus.CANCELLED: JobStatus.PENDING,
    JobStatus.PENDING: JobStatus.CANCELLED,
    JobStatus.RUNNING: JobStatus.RUNNING,
}


@takes_filters
def retry(
    wanted: JobFilter,
    job_ids: JobIdsArgument = None,
    database: DatabaseOption = None,
    *,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run failed and cancelled jobs again, with all their attempts.

    Jobs that are named are retried at once. Where filters choose them, they are
    counted first and you are asked, unless --yes is given. What can't be
    retried is skipped, with the reason: a pending or running job has its unique
    key, for instance. Of several with one key the newest is retried.

    server-jobs retry 0197a3c2-5b1e-7f04
    server-jobs retry --name SendEmail --status failed --newer-than 2h --dry-run
    server-jobs retry --name SendEmail --status failed --newer-than 2h --yes
    """
    asyncio.run(
        _run(
            RETRY,
            _Request(tuple(job_ids or ()), wanted, everything, dry_run, yes, as_json),
            database,
        )
    )


@takes_filters
def cancel(
    wanted: JobFilter,
    job_ids: JobIdsArgument = None,
    database: DatabaseOption = None,
    *,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cancel pending jobs at once, and ask running ones to stop.

    Jobs that are named are cancelled at once. Where filters choose them, they
    are counted first and you are asked, unless --yes is given. A running job is
    cancelled by its worker: it ends once its handler does, and completes if
    that was quicker.

    server-jobs cancel 0197a3c2-5b1e-7f04
    server-jobs cancel --queue mail --status pending --older-than 7d --dry-run
    server-jobs cancel --correlation-id order-1017 --yes --json
    """
    asyncio.run(
        _run(
            CANCEL,
            _Request(tuple(job_ids or ()), wanted, everything, dry_run, yes, as_json),
            database,
        )
    )


@dataclass(frozen=True)
class _Request:
    job_ids: tuple[str, ...]
    wanted: JobFilter
    everything: bool
    dry_run: bool
    yes: bool
    as_json: bool


@dataclass
class Outcome:
    """What was done to which jobs, or would be."""

    action: Action
    ids: dict[JobStatus, list[str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, changed: Changed) -> None:
        """Count what one statement did."""
        for job_id, status in changed.statuses.items():
            self.ids.setdefault(status, []).append(job_id)
        self.skipped += changed.skipped

    @property
    def total(self) -> int:
        """How many jobs were changed."""
        return sum(map(len, self.ids.values()))

    def document(self, *, dry_run: bool) -> dict[str, Any]:
        """As JSON, the newest first."""
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
        """In words: ``12 cancelled, 1 asked to stop, 2 skipped``."""
        first = next(iter(self.action.done))
        parts = [
            f"{len(self.ids.get(status, [])):,} {words}"
            for status, words in self.action.done.items()
            if status is first or self.ids.get(status)
        ]
        if self.skipped:
            parts.append(f"{len(self.skipped):,} skipped")
        return ("nothing was done; without --dry-run: " if dry_run else "") + ", ".join(parts)


async def _run(action: Action, request: _Request, database: str | None) -> None:
    wanted = _checked(action, request)
    outcome = Outcome(action)
    async with opened_store(existing_database(database)) as store:
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


def _checked(action: Action, request: _Request) -> JobFilter:
    """The filter with the statuses that the action takes. Raises BadParameter."""
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


async def _change_named(store: Store, request: _Request, outcome: Outcome) -> None:
    ids = await the_ids(store, request.job_ids)
    if request.dry_run:
        outcome.add(await _foreseen(store, outcome.action, ids))
        return
    for start in range(0, len(ids), BATCH):
        outcome.add(await outcome.action.change(store, ids[start : start + BATCH]))


async def _foreseen(store: Store, action: Action, ids: Sequence[str]) -> Changed:
    """What would become of these, as far as their statuses tell."""
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


async def _change_all(store: Store, request: _Request, wanted: JobFilter, outcome: Outcome) -> None:
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
                outcome.add(await outcome.action.change(store, ids))
                progress.advance(bar, len(ids))
    except BaseException:
        remark(f"stopped half-way: {outcome.sentence(dry_run=False)}")
        raise


async def _batches(store: Store, wanted: JobFilter, newest_id: str) -> AsyncIterator[list[str]]:
    """The ids that fit, from this one on to older ones: jobs that came since aren't meant."""
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
