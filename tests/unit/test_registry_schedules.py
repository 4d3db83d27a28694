"""``registry.schedule``: what is written, and what is refused where it enters."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server_jobs import JobRegistry, RetryPolicy, create_job_registry, define_job
from server_jobs.errors import (
    DuplicateJobError,
    InvalidOptionError,
    InvalidParamsError,
    InvalidScheduleError,
    UnknownJobError,
)
from server_jobs.schedules import Schedule

DAY = datetime(2026, 3, 2, tzinfo=UTC)


@dataclass
class Report:
    to: str
    pages: int = 1


@define_job(
    name="SendReport",
    queue="mail",
    priority=2,
    max_attempts=5,
    timeout=30,
    retry_policy=RetryPolicy.fixed(timedelta(seconds=3)),
)
async def send_report(params: Report) -> None: ...


@define_job(name="Tidy")
async def tidy(params: None) -> None: ...


@pytest.fixture
def registry() -> JobRegistry:
    return create_job_registry("shop").register(send_report).register(tidy)


def only(registry: JobRegistry) -> Schedule:
    (schedule,) = registry.schedules
    return schedule


def test_what_isnt_said_comes_from_the_job(registry: JobRegistry) -> None:
    registry.schedule(send_report, "0 9 * * 1-5", params=Report("Zoë"))

    schedule = only(registry)
    assert (schedule.name, schedule.job_name) == ("SendReport", "SendReport")
    assert json.loads(schedule.params) == {"to": "Zoë", "pages": 1}
    assert (schedule.queue, schedule.priority, schedule.max_attempts) == ("mail", 2, 5)
    assert schedule.timeout_seconds == 30
    assert schedule.retry_policy == send_report.definition.retry_policy.to_json()
    assert schedule.managed_by == "code:shop"
    assert schedule == Schedule(
        name="SendReport",
        job_name="SendReport",
        cron_expression="0 9 * * 1-5",
        params=schedule.params,
        queue="mail",
        priority=2,
        max_attempts=5,
        timeout_seconds=30,
        retry_policy=schedule.retry_policy,
        managed_by="code:shop",
    ), "all else is as in a row that a person inserts"


def test_what_is_said_is_kept(registry: JobRegistry) -> None:
    registry.schedule(
        send_report,
        "H 9 * * *",
        params={"to": "Zoë", "pages": 3},
        name="morning",
        time_zone="Europe/Zurich",
        overlap="queue",
        catchup="all",
        catchup_window=timedelta(hours=2),
        catchup_limit=3,
        jitter=timedelta(minutes=1),
        starts_at=DAY,
        ends_at=DAY + timedelta(days=9),
        queue="slow",
        priority=-1,
        max_attempts=1,
        enabled=False,
    )

    schedule = only(registry)
    assert (schedule.name, schedule.time_zone) == ("morning", "Europe/Zurich")
    assert json.loads(schedule.params) == {"to": "Zoë", "pages": 3}
    assert (schedule.overlap, schedule.catchup, schedule.catchup_limit) == ("queue", "all", 3)
    assert (schedule.catchup_window_seconds, schedule.jitter_seconds) == (7_200, 60)
    assert (schedule.starts_at, schedule.ends_at) == (DAY, DAY + timedelta(days=9))
    assert (schedule.queue, schedule.priority, schedule.max_attempts) == ("slow", -1, 1)
    assert not schedule.enabled


def test_job_without_params_needs_none(registry: JobRegistry) -> None:
    assert only(registry.schedule(tidy, "@daily")).params == "null"


def test_no_window_is_no_bound(registry: JobRegistry) -> None:
    registry.schedule(tidy, "@daily", catchup_window=None)

    assert only(registry).catchup_window_seconds is None


def test_one_job_may_have_several_schedules(registry: JobRegistry) -> None:
    registry.schedule(tidy, "@daily").schedule(tidy, "@hourly", name="often")

    assert [schedule.name for schedule in registry.schedules] == ["Tidy", "often"]


def test_source_is_that_of_the_app_even_if_it_is_named_later() -> None:
    registry = create_job_registry().register(tidy).schedule(tidy, "@daily")
    assert only(registry).managed_by == "code:app"

    registry.app = "shop.jobs"

    assert only(registry).managed_by == registry.source == "code:shop.jobs"


# ── refused ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"expression": "0 9 * *"}, r"'Tidy': cron_expression='0 9 \* \*' has 4 fields, not"),
        ({"expression": "0 0 30 2 *"}, "'Tidy': cron_expression=.* never fires"),
        ({"expression": "@dayly"}, "isn't one of @yearly, .*@daily"),
        ({"expression": 5}, "cron_expression isn't text"),
        ({"time_zone": "Europe/Zurch"}, "time_zone='Europe/Zurch' .* mean 'Europe/Zurich'"),
        ({"time_zone": "Zurich"}, "did you mean 'Europe/Zurich'"),
        ({"overlap": "queued"}, "overlap='queued' isn't one of allow, skip, queue, replace"),
        ({"catchup": "some"}, "catchup='some' isn't one of none, latest, all"),
        ({"catchup_window": 0}, "catchup_window_seconds=0 isn't more than 0; None sets no bound"),
        ({"catchup_window": float("inf")}, "None sets no bound"),
        ({"catchup_window": float("nan")}, "None sets no bound"),
        ({"catchup_limit": 0}, "catchup_limit=0 isn't between 1 and 10000"),
        ({"jitter": -1}, "jitter_seconds=-1 isn't between 0 seconds and a day"),
        ({"jitter": timedelta(days=2)}, "jitter_seconds=172800.0 isn't between"),
        ({"jitter": float("nan")}, "jitter_seconds=nan isn't between"),
        ({"starts_at": DAY.replace(tzinfo=None)}, "starts_at=.* has no time zone: give it a tz"),
        ({"ends_at": DAY.replace(tzinfo=None)}, "ends_at=.* has no time zone: give it a tzinfo"),
        ({"starts_at": DAY, "ends_at": DAY}, "ends_at isn't later than starts_at"),
        (
            {"starts_at": DAY, "ends_at": DAY + timedelta(hours=3)},
            "no fire time lies between starts_at and ends_at",
        ),
        ({"starts_at": datetime.min.replace(tzinfo=UTC)}, "starts_at=.*None sets no bound"),
        ({"name": ""}, "name='' isn't text of 1 to 255 bytes"),
        ({"name": "a\0"}, "name='a.*' isn't text of 1 to 255"),
        ({"name": "n" * 256}, "isn't text of 1 to 255"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_error_names_the_field_and_the_way_out(
    registry: JobRegistry, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidScheduleError, match=told):
        registry.schedule(tidy, **{"expression": "0 9 * * *", **options})

    assert list(registry.schedules) == []


def test_job_that_isnt_registered_is_refused() -> None:
    with pytest.raises(UnknownJobError, match="no job 'Tidy' in the registry"):
        create_job_registry().register(send_report).schedule(tidy, "@daily")


def test_other_job_of_the_same_name_is_refused(registry: JobRegistry) -> None:
    @define_job(name="Tidy")
    async def impostor(params: None) -> None: ...

    with pytest.raises(DuplicateJobError, match="another job of that name"):
        registry.schedule(impostor, "@daily")


@pytest.mark.parametrize("params", [None, {}, {"to": "Zoë", "pages": "many"}, "Zoë"])
def test_params_that_dont_fit_are_refused(registry: JobRegistry, params: Any) -> None:
    with pytest.raises(InvalidParamsError, match="SendReport"):
        registry.schedule(send_report, "@daily", params=params)

    assert list(registry.schedules) == []


def test_second_schedule_of_a_name_is_refused(registry: JobRegistry) -> None:
    registry.schedule(tidy, "@daily")

    with pytest.raises(InvalidScheduleError, match="'Tidy' is declared twice: give one of them an"):
        registry.schedule(tidy, "@hourly")

    assert only(registry).cron_expression == "@daily"


@pytest.mark.parametrize(
    "options",
    [
        {"queue": ""},
        {"priority": 1.5},
        {"max_attempts": 0},
        {"jitter": "1"},
        {"catchup_window": "1"},
    ],
    ids=lambda value: ",".join(value),
)
def test_options_of_its_jobs_are_checked_as_those_of_any_job(
    registry: JobRegistry, options: dict[str, Any]
) -> None:
    (name,) = options

    with pytest.raises(InvalidOptionError, match=name):
        registry.schedule(tidy, "@daily", **options)
