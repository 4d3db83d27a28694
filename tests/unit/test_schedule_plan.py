"""What becomes of fire times, against a model that walks minute by minute."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from server_jobs.schedules import Catchup, Decision, Overlap, ScheduleRecord
from server_jobs.schedules.plan import ON_TIME, Plan, plan
from server_jobs.schedules.schedule import NEVER

MINUTE = timedelta(minutes=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
LONGEST = 3 * 24 * 60

minutes = st.integers(0, LONGEST)
seconds = st.integers(1, LONGEST * 60)


def every(step: int) -> str:
    return f"*/{step} * * * *"


@st.composite
def schedules(draw: st.DrawFn) -> tuple[ScheduleRecord, int]:
    """A schedule that was due at some time, and how many minutes there are between its own."""
    step = draw(st.sampled_from([1, 2, 5, 20, 30]))
    ends = draw(st.none() | minutes)
    record = ScheduleRecord(
        name="report",
        job_name="Report",
        cron_expression=every(step),
        overlap=draw(st.sampled_from(list(Overlap))),
        catchup=draw(st.sampled_from(list(Catchup))),
        catchup_window_seconds=draw(st.sampled_from([None, 5, 120]) | seconds),
        catchup_limit=draw(st.integers(1, 50)),
        ends_at=None if ends is None else START + ends * MINUTE,
        id="id",
        last_run_at=None,
        next_run_at=START + draw(st.integers(0, LONGEST // step)) * step * MINUTE,
        last_job_id=None,
        fire_token=None,
        last_decision=draw(st.sampled_from([None, Decision.FIRED, Decision.WAITING])),
        last_note=None,
        created_at=START,
        updated_at=START,
    )
    return record, step


def model(schedule: ScheduleRecord, step: int, now: datetime) -> Plan:
    """All fire times that are due, then the rules in the words of the documentation."""
    seen = schedule.next_run_at
    assert seen is not None
    ends_at = schedule.ends_at or NEVER
    walk = [seen + n * step * MINUTE for n in range(2 * LONGEST)]
    due = [moment for moment in walk if moment <= now and moment < ends_at]
    following = next((time for time in walk if now < time < ends_at), NEVER)
    alone = schedule.overlap != Overlap.ALLOW
    if schedule.last_decision == Decision.WAITING and alone:
        return Plan(seen, due[-1:], (), following)

    on_time = [moment for moment in due if moment >= now - ON_TIME]
    window = schedule.catchup_window_seconds
    within = [
        moment
        for moment in due
        if window is None or moment >= now - max(ON_TIME, timedelta(seconds=window))
    ]
    if seen >= now - ON_TIME or schedule.catchup == Catchup.NONE:
        chosen = on_time
    elif schedule.catchup == Catchup.ALL:
        chosen = within[-schedule.catchup_limit :]
    else:
        chosen = within[-1:]
    if alone:
        chosen = chosen[-1:]
    missed = [moment for moment in due if not chosen or moment < chosen[0]]
    return Plan(seen, chosen, missed[:1_000], following)


@settings(max_examples=400)
@given(schedules(), st.integers(0, 200) | minutes, st.sampled_from([0, 1, 30_000, 40_000, 59_999]))
def test_plan_is_what_the_rules_say(
    drawn: tuple[ScheduleRecord, int], late: int, milliseconds: int
) -> None:
    schedule, step = drawn
    assert schedule.next_run_at is not None
    now = schedule.next_run_at + late * MINUTE + timedelta(milliseconds=milliseconds)

    planned = plan(schedule, now)

    expected = model(schedule, step, now)
    assert list(planned.fire_at) == list(expected.fire_at)
    assert list(planned.missed) == list(expected.missed)
    assert (planned.seen, planned.next_run_at) == (expected.seen, expected.next_run_at)
