"""Schedulers that meet at the same fire time, and whatever else happens in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import psycopg
import pytest

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.records.status import JobStatus
from server_jobs.schedules import Decision, Overlap, Schedule
from tests.support.clock import Clock
from tests.support.databases.faulty import Fault, FaultyDatabase
from tests.support.databases.meanwhile import MeanwhileDatabase, fires, makes_jobs
from tests.support.drills.agenda import NAME, Agenda, at, schedule

ROUNDS = 5

Meanwhile = Callable[[Agenda], Awaitable[object]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agenda(database: Database, clock: Clock) -> Agenda:
    return Agenda(database, clock)


@pytest.fixture
async def others_database(migrated_url: str) -> AsyncIterator[Database]:
    """The same database, by connections of its own."""
    database = connect(migrated_url)
    yield database
    await database.close()


class Meeting:
    """Two schedulers that have both read what is due before either of them fires."""

    def __init__(self, one: Database, other: Database, clock: Clock) -> None:
        self._databases = MeanwhileDatabase(one), MeanwhileDatabase(other)
        self._agendas = [Agenda(database, clock) for database in self._databases]

    async def tick_at(self, moment: str) -> Counter[Decision]:
        """How often which decision was made."""
        both_have_read = asyncio.Barrier(2)
        for database in self._databases:
            database.meanwhile = both_have_read.wait
        ticked = await asyncio.gather(*(agenda.tick_at(moment) for agenda in self._agendas))
        assert not any(database.meanwhile for database in self._databases), "they never met"
        return Counter(decision for each in ticked for decision in each.decisions.values())


@pytest.fixture
def meeting(database: Database, others_database: Database, clock: Clock) -> Meeting:
    return Meeting(database, others_database, clock)


async def test_two_that_have_read_the_same_rows_make_one_job_of_each(
    agenda: Agenda, meeting: Meeting
) -> None:
    names = [f"report-{n}" for n in range(20)]
    for name in names:
        await agenda.put("0 * * * *", name=name)

    for hour in range(9, 9 + ROUNDS):
        decisions = await meeting.tick_at(f"{hour:02}:00")
        assert decisions == Counter({Decision.FIRED: len(names)})

    for name in names:
        assert await agenda.fired(name) == [f"{hour:02}:00" for hour in range(9, 9 + ROUNDS)]


async def test_who_comes_second_finds_another_fire_time_and_makes_nothing(
    agenda: Agenda, others_database: Database, clock: Clock
) -> None:
    between = MeanwhileDatabase(others_database)
    await agenda.put("0 * * * *")
    between.meanwhile = lambda: agenda.tick_at("09:00")

    assert await Agenda(between, clock).decision_at("09:00") is None

    row = await agenda.get()
    assert await agenda.fired() == ["09:00"]
    assert (row.last_decision, row.next_run_at) == (Decision.FIRED, at("10:00"))
    (job,) = await agenda.jobs()
    assert row.last_job_id == job.id


async def test_who_comes_second_later_makes_none_of_what_the_first_has_caught_up_with(
    agenda: Agenda, others_database: Database, clock: Clock
) -> None:
    """It saw more fire times than the first: those that it alone saw are the next tick's."""
    between = MeanwhileDatabase(others_database)
    await agenda.put("0 * * * *", catchup="all")
    between.meanwhile = lambda: agenda.tick_at("10:00")

    assert await Agenda(between, clock).decision_at("12:00") is None
    assert await agenda.fired() == ["09:00", "10:00"]

    assert await agenda.decision_at("12:01") == Decision.FIRED
    assert await agenda.fired() == ["09:00", "10:00", "11:00", "12:00"]


# ── overlap ──────────────────────────────────────────────────────────────────────────────────


async def test_two_skip_a_fire_time_once(agenda: Agenda, meeting: Meeting) -> None:
    await agenda.put("0 * * * *", overlap="skip")
    await agenda.tick_at("09:00")

    assert await meeting.tick_at("10:00") == Counter({Decision.SKIPPED: 1})
    await agenda.complete(await agenda.claim())
    assert await meeting.tick_at("11:00") == Counter({Decision.FIRED: 1})

    assert await agenda.fired() == ["09:00", "11:00"]


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.REPLACE])
async def test_two_that_wait_for_a_running_job_make_one_once_it_has_ended(
    agenda: Agenda, meeting: Meeting, overlap: str
) -> None:
    await agenda.put("0 * * * *", overlap=overlap)
    await agenda.tick_at("09:00")

    for hour in range(10, 10 + ROUNDS):
        running = await agenda.claim()
        waiting = await meeting.tick_at(f"{hour:02}:00")
        assert waiting.keys() == {Decision.WAITING}
        asked = (await agenda.store.get(running.id)).cancel_requested_at is not None
        assert asked == (overlap == Overlap.REPLACE)
        await agenda.complete(running)
        assert await meeting.tick_at(f"{hour:02}:01") == Counter({Decision.FIRED: 1})

    assert await agenda.fired() == [f"{hour:02}:00" for hour in range(9, 10 + ROUNDS)]


async def test_two_replace_a_pending_job_by_one(agenda: Agenda, meeting: Meeting) -> None:
    await agenda.put("0 * * * *", overlap="replace")
    await agenda.tick_at("09:00")

    for hour in range(10, 10 + ROUNDS):
        assert await meeting.tick_at(f"{hour:02}:00") == Counter({Decision.FIRED: 1})

    assert await agenda.fired() == [f"{hour:02}:00" for hour in range(9, 10 + ROUNDS)]
    assert await agenda.statuses() == [*[JobStatus.CANCELLED] * ROUNDS, JobStatus.PENDING]


async def test_job_that_is_claimed_between_look_and_firing_is_waited_for(
    agenda: Agenda, others_database: Database, clock: Clock
) -> None:
    between = MeanwhileDatabase(others_database)
    await agenda.put("0 * * * *", overlap="replace")
    await agenda.tick_at("09:00")
    between.meanwhile = agenda.claim

    assert await Agenda(between, clock).decision_at("10:00") == Decision.WAITING

    (job,) = await agenda.jobs()
    assert job.status is JobStatus.RUNNING
    assert job.cancel_requested_at is not None


# ── in between, a person ─────────────────────────────────────────────────────────────────────


async def disable(agenda: Agenda) -> None:
    await agenda.schedules.set_enabled(NAME, enabled=False)


async def prune(agenda: Agenda) -> None:
    assert await agenda.schedules.prune("cli", []) == [NAME]


async def remove(agenda: Agenda) -> None:
    await agenda.schedules.remove(NAME)


async def begin_anew(agenda: Agenda) -> None:
    await agenda.schedules.set_enabled(NAME, enabled=False)
    await agenda.schedules.set_enabled(NAME, enabled=True)


async def retime(agenda: Agenda) -> None:
    await agenda.schedules.put(schedule("30 * * * *"))


@pytest.mark.parametrize("overlap", [Overlap.ALLOW, Overlap.REPLACE])
@pytest.mark.parametrize("meanwhile", [disable, prune, remove, begin_anew, retime])
async def test_nothing_fires_that_somebody_changes_between_look_and_firing(
    agenda: Agenda, others_database: Database, clock: Clock, overlap: str, meanwhile: Meanwhile
) -> None:
    between = MeanwhileDatabase(others_database)
    await agenda.put("0 * * * *", overlap=overlap)
    await agenda.tick_at("09:00")
    between.meanwhile = lambda: meanwhile(agenda)

    assert await Agenda(between, clock).decision_at("10:00") is None

    (job,) = await agenda.store.list_jobs()
    assert (job.cron_fire_at, job.status) == (at("09:00"), JobStatus.PENDING)


@pytest.mark.parametrize(
    "edited",
    [schedule("0 10,15 * * *"), schedule("0 */3 * * *", time_zone="Asia/Kathmandu")],
    ids=["expression", "zone"],
)
async def test_edit_that_is_due_at_the_same_moment_fires_by_its_own_times(
    agenda: Agenda, others_database: Database, clock: Clock, edited: Schedule
) -> None:
    """The next fire time must not be one of the old definition's."""
    between = MeanwhileDatabase(others_database)
    moment = edited.next_after(at("09:00"))
    await agenda.put(f"{moment.minute} * * * *")

    async def edit() -> None:
        # Who edits has asked for the time a moment before.
        clock.value = moment - timedelta(milliseconds=1)
        await agenda.schedules.put(edited)
        clock.value = moment

    await agenda.tick_at(moment - timedelta(hours=1))
    between.meanwhile = edit

    assert await Agenda(between, clock).decision_at(moment) is None
    assert await agenda.decision_at(moment + timedelta(seconds=1)) == Decision.FIRED

    assert (await agenda.jobs())[-1].cron_fire_at == moment
    assert (await agenda.get()).next_run_at == edited.next_after(moment)


async def test_edit_between_look_and_firing_holds_for_the_job(
    agenda: Agenda, others_database: Database, clock: Clock
) -> None:
    between = MeanwhileDatabase(others_database)
    await agenda.put("0 * * * *", params='{"n": 1}')
    between.meanwhile = lambda: agenda.put("0 * * * *", params='{"n": 2}', queue="later")

    assert await Agenda(between, clock).decision_at("09:00") == Decision.FIRED

    (job,) = await agenda.jobs()
    assert (job.params, job.queue) == ('{"n": 2}', "later")


async def test_backfill_between_look_and_firing_makes_the_only_job(
    agenda: Agenda, others_database: Database, clock: Clock
) -> None:
    between = MeanwhileDatabase(others_database)
    row = await agenda.put("0 * * * *")
    between.meanwhile = lambda: agenda.schedules.backfill(row, [at("09:00")])

    assert await Agenda(between, clock).decision_at("09:00") == Decision.DEDUPLICATED

    assert await agenda.fired() == ["09:00"]
    assert (await agenda.get()).next_run_at == at("10:00")


# ── in between, the database ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_answer_that_is_lost_makes_no_second_job(
    agenda: Agenda, others_database: Database, clock: Clock, overlap: str
) -> None:
    faulty = FaultyDatabase(others_database)
    scheduler = Agenda(faulty, clock)
    await agenda.put("0 * * * *", overlap=overlap)
    faulty.break_once(Fault.AFTER, when=makes_jobs)

    with pytest.raises(DatabaseUnavailableError):
        await scheduler.tick_at("09:00")
    assert await scheduler.decision_at("09:01") is None

    assert await agenda.fired() == ["09:00"]
    assert (await agenda.get()).last_decision == Decision.FIRED


async def test_replacing_that_is_cut_off_after_the_cancellation_is_finished_by_the_next_tick(
    agenda: Agenda, others_database: Database, clock: Clock
) -> None:
    faulty = FaultyDatabase(others_database)
    scheduler = Agenda(faulty, clock)
    await agenda.put("0 * * * *", overlap=Overlap.REPLACE)
    await agenda.tick_at("09:00")
    faulty.break_once(Fault.AFTER, when=fires)

    with pytest.raises(DatabaseUnavailableError):
        await scheduler.tick_at("10:00")
    assert await agenda.fired() == ["09:00"]
    assert await scheduler.decision_at("10:01") == Decision.FIRED

    assert await agenda.fired() == ["09:00", "10:00"]
    assert [job.status for job in await agenda.jobs()] == [JobStatus.CANCELLED, JobStatus.PENDING]


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_batch_that_never_arrives_is_made_up_for(
    agenda: Agenda, others_database: Database, clock: Clock, overlap: str
) -> None:
    faulty = FaultyDatabase(others_database)
    scheduler = Agenda(faulty, clock)
    await agenda.put("0 * * * *", overlap=overlap)
    faulty.break_once(Fault.BEFORE, when=fires)

    with pytest.raises(DatabaseUnavailableError):
        await scheduler.tick_at("09:00")
    assert await agenda.fired() == []
    assert await scheduler.decision_at("09:01") == Decision.FIRED

    assert await agenda.fired() == ["09:00"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_what_another_one_has_taken_and_not_committed_is_passed_over(
    agenda: Agenda, migrated_url: str
) -> None:
    """Not waited for: the others are due as well."""
    await agenda.put("0 * * * *", name="taken")
    await agenda.put("0 * * * *", name="free")

    async with await psycopg.AsyncConnection.connect(migrated_url) as somebody:
        await somebody.execute("UPDATE cron_jobs SET next_run_at = now() WHERE name = 'taken'")
        ticked = await agenda.tick_at("09:00")
        assert ticked.decisions == {"free": Decision.FIRED}
        await somebody.rollback()

    assert (await agenda.tick_at("09:01")).decisions == {"taken": Decision.FIRED}
    assert await agenda.fired("taken") == await agenda.fired("free") == ["09:00"]


# ── and a clock that is set back ─────────────────────────────────────────────────────────────


async def test_clock_that_is_set_back_makes_nothing_anew_as_long_as_records_are_kept(
    agenda: Agenda, meeting: Meeting
) -> None:
    await agenda.put("0 * * * *")
    for hour in ("09:00", "10:00", "11:00"):
        await agenda.tick_at(hour)
    first, *_ = await agenda.jobs()
    await agenda.sql("DELETE FROM jobs WHERE id = :id", id=first.id)

    await agenda.tick_at("08:30")

    # The record was the proof that nine o'clock has fired.
    assert await meeting.tick_at("09:00") == Counter({Decision.FIRED: 1})
    assert await meeting.tick_at("10:00") == Counter({Decision.DEDUPLICATED: 1})
    assert await meeting.tick_at("11:00") == Counter({Decision.DEDUPLICATED: 1})
    assert await meeting.tick_at("12:00") == Counter({Decision.FIRED: 1})
    assert await agenda.fired() == ["09:00", "10:00", "11:00", "12:00"]
