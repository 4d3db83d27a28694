"""``prune``: deletes the records of jobs that ended long ago."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated

import typer

from server_jobs.cli.confirmation import ask, progress_bar
from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.durations import seconds_of
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import plain, print_json, print_lines, remark
from server_jobs.records.requests import Prunable
from server_jobs.records.status import FINISHED, JobStatus
from server_jobs.store.retention import walk
from server_jobs.store.store import Store

_ENDS = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)

_COUNTED_AT_ONCE = 5_000
_REST = 1
"""A person waits, so the command pauses only as long as it works."""


def prune(
    database: DatabaseOption = None,
    *,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            show_default=False,
            help="Jobs that ended longer ago than this: 12h, 30d. 0 means every job that has"
            " ended. Required.",
        ),
    ],
    status: Annotated[
        list[JobStatus] | None,
        typer.Option(
            "--status",
            case_sensitive=False,
            show_default="completed, failed and cancelled",
            help="Only jobs of this status. May be repeated.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Only jobs of this name. May be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and delete nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the records of jobs that ended long ago, for good.

    Workers delete old records by themselves (--keep-completed and so on). This
    command is for a database without a long-running worker, and for making room
    now. It counts the jobs and asks you first, unless --yes is given. Pending
    and running jobs are never deleted.

    server-jobs prune --older-than 30d --dry-run
    server-jobs prune --older-than 12h --status completed --name Ping --yes
    """
    age = timedelta(seconds=seconds_of(older_than, "--older-than"))
    statuses = _ended(status or _ENDS)
    names = tuple(dict.fromkeys(name or ()))

    async def run() -> Counter[JobStatus]:
        async with opened_store(existing_database(database)) as store:
            before = await store.clock() - age
            prunable = Prunable(dict.fromkeys(statuses, before), names, whenever=not age)
            if yes and not dry_run:
                return await _delete(store, prunable, None)
            found = await _count(store, prunable)
            if dry_run or not found:
                return found
            ask(f"Delete {_sentence(found)}, for good?")
            return await _delete(store, prunable, found.total())

    counts = asyncio.run(run())
    if as_json:
        pruned = {status.value: counts[status] for status in statuses}
        print_json({"dry_run": dry_run, "pruned": pruned, "total": counts.total()})
    else:
        done = "nothing was deleted; without --dry-run: " if dry_run else "deleted "
        print_lines([plain(f"{done}{_sentence(counts)}")])


def _ended(statuses: Sequence[JobStatus]) -> tuple[JobStatus, ...]:
    if live := [status for status in statuses if status not in FINISHED]:
        raise typer.BadParameter(
            f"{live[0]} jobs haven't ended: only {', '.join(_ENDS)} ones are pruned.",
            param_hint="--status",
        )
    return tuple(dict.fromkeys(statuses))


async def _count(store: Store, prunable: Prunable) -> Counter[JobStatus]:
    found: Counter[JobStatus] = Counter()
    with progress_bar() as progress:
        bar = progress.add_task("count", total=None)
        async for stretch in walk(store, prunable, delete=False, rows=_COUNTED_AT_ONCE, rest=0):
            found.update(stretch.prunable)
            progress.advance(bar, stretch.rows)
    return +found


async def _delete(store: Store, prunable: Prunable, expected: int | None) -> Counter[JobStatus]:
    gone: Counter[JobStatus] = Counter()
    try:
        with progress_bar() as progress:
            bar = progress.add_task("prune", total=expected)
            with unless_unanswered(
                "Some more may have been deleted. The command can be given again."
            ):
                async for stretch in walk(store, prunable, delete=True, rest=_REST):
                    gone.update(stretch.prunable)
                    progress.update(bar, completed=gone.total())
    except BaseException:
        remark(f"stopped half-way: deleted {_sentence(gone)}")
        raise
    return +gone


def _sentence(counts: Mapping[JobStatus, int]) -> str:
    """Return the counts in words: ``12 jobs (10 completed, 2 failed)``."""
    total = sum(counts.values())
    by_status = ", ".join(f"{counts[end]:,} {end}" for end in _ENDS if counts.get(end))
    return f"{total:,} job{'' if total == 1 else 's'}" + (f" ({by_status})" if by_status else "")
