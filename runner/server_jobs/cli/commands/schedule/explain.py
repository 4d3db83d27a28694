"""``schedule explain``: says when a schedule or an expression fires, and why."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from server_jobs.cli.commands.schedule.lookup import opened_schedules, the_schedule
from server_jobs.cli.commands.schedule.shown import both_clocks
from server_jobs.cli.documents import json_value
from server_jobs.cli.durations import as_typed
from server_jobs.cli.moments import moment_of
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import plain, print_json, print_lines, terminal_width
from server_jobs.cli.tables import labelled_lines
from server_jobs.records.status import JobStatus
from server_jobs.schedules.cron import clock_changes, parse, time_zone
from server_jobs.schedules.plan import plan
from server_jobs.schedules.schedule import NEVER, Catchup, Overlap, Schedule, ScheduleRecord

_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)
_EXPRESSION = re.compile(r"\s*(@|[\dH*?][^\s]*\s)", re.IGNORECASE)


def explain(
    what: Annotated[
        str, typer.Argument(metavar="NAME|EXPRESSION", help="A schedule, or a cron expression.")
    ],
    database: DatabaseOption = None,
    *,
    count: Annotated[
        int, typer.Option("--count", min=1, max=1_000, help="How many fire times to show.")
    ] = 10,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MOMENT",
            show_default="now",
            help="Show fire times from this moment on: 2026-03-29, 2026-03-29T02:30, by the time"
            " zone.",
        ),
    ] = None,
    zone_name: Annotated[
        str | None,
        typer.Option(
            "--time-zone",
            metavar="ZONE",
            show_default="the schedule's, or UTC",
            help="Follow the clock of another time zone.",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--name", help="The schedule's name, from which an H in the expression is computed."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Say when a schedule or an expression fires, in its zone and in UTC.

    Notes say where the zone's clock is put forward or back. For a schedule, it
    also says what overlap and catch-up would do now. For an expression, no
    database is needed.

    server-jobs schedule explain nightly
    server-jobs schedule explain "30 2 * * *" --time-zone Europe/Zurich --from 2026-03-27
    server-jobs schedule explain "H * * * *" --name nightly --count 3
    """
    if _EXPRESSION.match(what):
        now = datetime.now(UTC)
        schedule = Schedule(name, "", what, zone_name or "UTC")
        outlook: list[str] = []
    else:
        schedule, now, live = asyncio.run(_read(what, database))
        outlook = list(_outlook(schedule, now, live))
        if zone_name is not None:
            schedule = Schedule(
                schedule.name,
                schedule.job_name,
                schedule.cron_expression,
                zone_name,
                starts_at=schedule.starts_at,
                ends_at=schedule.ends_at,
            )
    zone = time_zone(schedule.time_zone)
    start = now if since is None else moment_of(since, "--from", zone)
    try:
        times = list(islice(schedule.fire_times(start - _INSTANT), count))
    except OverflowError:
        raise typer.BadParameter(
            "no fire time can be found so near to the ends of the calendar.", param_hint="'--from'"
        ) from None
    notes = list(notes_on(schedule, zone, times))
    if as_json:
        print_json(
            {
                "expression": schedule.cron_expression,
                "time_zone": schedule.time_zone,
                "fire_times": [
                    {
                        "utc": json_value(fire_time),
                        "local": fire_time.astimezone(zone).isoformat(),
                        "note": note or None,
                    }
                    for fire_time, note in zip(times, notes, strict=True)
                ],
                "now": outlook,
            }
        )
        return
    print_lines([plain(f"{schedule.cron_expression}  {schedule.time_zone}")])
    rows = (
        (plain(both_clocks(fire_time, zone)), plain(note))
        for fire_time, note in zip(times, notes, strict=True)
    )
    print_lines(labelled_lines(rows, terminal_width(), gap=2))
    print_lines(map(plain, outlook if times else ["it never fires again", *outlook]))


async def _read(
    name: str, url: str | None
) -> tuple[ScheduleRecord, datetime, dict[str, JobStatus]]:
    async with opened_schedules(url) as schedules:
        schedule = await the_schedule(schedules, name)
        return schedule, await schedules.clock(), await schedules.live_jobs(schedule)


def notes_on(schedule: Schedule, zone: ZoneInfo, times: Sequence[datetime]) -> Iterator[str]:
    """Yield a note for each fire time: how a change of the zone's clock affects it, if one does."""
    expression = parse(schedule.cron_expression, name=schedule.name)
    before = None
    for fire_time in times:
        notes = []
        for change in clock_changes(zone, fire_time - _DAY, fire_time + _DAY):
            at = change.at.replace(tzinfo=None)
            old, new = at + change.before, at + change.after
            if expression.follows_elapsed_time:
                if before is not None and before < change.at <= fire_time:
                    way = "forward" if change.skips else "back"
                    notes.append(
                        f"the clock went {way} from {old:%H:%M} to {new:%H:%M}: it follows elapsed"
                        " time"
                    )
            elif change.skips:
                skipped = next(expression.local_times(old, new), None)
                if fire_time == change.at and skipped is not None:
                    notes.append(f"{skipped:%H:%M} doesn't exist on this day: fires at {new:%H:%M}")
            elif fire_time < change.at and new <= fire_time.replace(tzinfo=None) + change.before:
                notes.append(f"{new:%H:%M}–{old:%H:%M} comes twice: fires the first time")
        yield "; ".join(notes)
        before = fire_time


def _outlook(schedule: ScheduleRecord, now: datetime, live: dict[str, JobStatus]) -> Iterator[str]:
    if not schedule.enabled:
        yield "It is off and doesn't fire."
    elif schedule.next_run_at is not None and schedule.next_run_at <= now:
        planned = plan(schedule, now)
        jobs = len(planned.fire_at)
        yield f"It is due now, for {jobs} job{'' if jobs == 1 else 's'}" + (
            f" ({planned.note})." if planned.note else "."
        )
    elif schedule.next_run_at == NEVER:
        yield "It has ended."
    yield f"Overlap {schedule.overlap}: {_overlap(schedule, len(live))}"
    yield f"Catch-up {schedule.catchup}: {_catchup(schedule)}"


def _overlap(schedule: ScheduleRecord, live: int) -> str:
    if not live:
        return "no job of it is pending or running, so that the next fire time gets one."
    jobs = "1 job of it hasn't ended" if live == 1 else f"{live} jobs of it haven't ended"
    match schedule.overlap:
        case Overlap.SKIP:
            return f"{jobs}; a fire time until then is skipped."
        case Overlap.QUEUE:
            return f"{jobs}; the next one waits for that, and several become one."
        case Overlap.REPLACE:
            return f"{jobs}; the next fire time cancels that and takes its place."
    return f"{jobs}; the next fire time gets one all the same."


def _catchup(schedule: ScheduleRecord) -> str:
    window = schedule.catchup_window_seconds
    bound = "" if window is None else f" of the last {as_typed(window)}"
    match schedule.catchup:
        case Catchup.NONE:
            return "after downtime, nothing is made up for."
        case Catchup.ALL if schedule.overlap == Overlap.ALLOW:
            return (
                f"after downtime, the newest {schedule.catchup_limit} fire times{bound} get jobs."
            )
    return f"after downtime, the latest fire time{bound} gets a job."
