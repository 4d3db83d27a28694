"""``later`` and ``later_many``: what is written, and that nothing is where an option is wrong."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from server_jobs import Job, JobStatus, RetryPolicy, connect, define_job
from server_jobs.database import Database
from server_jobs.errors import InvalidOptionError, InvalidParamsError
from server_jobs.records.rows import JobRecord
from server_jobs.store.store import Store
from tests.support.databases.faulty import FaultyDatabase


class Mail(BaseModel):
    to: str
    copies: int = 0


@pytest.fixture
def send(database: Database) -> Job[Mail, None]:
    @define_job(
        name="Send",
        queue="mail",
        priority=7,
        max_attempts=4,
        timeout=30,
        retry_policy=RetryPolicy.fixed(9),
    )
    async def send(params: Mail) -> None:
        raise AssertionError("nobody executes it here")

    send.set_database(database)
    return send


async def rows(store: Store) -> list[JobRecord]:
    return await store.list_jobs(limit=10_000)


def seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("params", [Mail(to="ada"), {"to": "ada"}])
async def test_row_has_what_the_definition_says(
    send: Job[Mail, None], store: Store, params: Any
) -> None:
    job_id = await send.later(params)

    (row,) = await rows(store)
    assert (row.id, row.job_name, row.status) == (job_id, "Send", JobStatus.PENDING)
    assert json.loads(row.params) == {"to": "ada", "copies": 0}
    assert (row.queue, row.priority, row.max_attempts) == ("mail", 7, 4)
    assert (row.timeout_seconds, row.unique_key, row.correlation_id) == (30, None, None)
    assert RetryPolicy.from_json(row.retry_policy) == RetryPolicy.fixed(9)
    assert (row.fence, row.attempt_count, row.ready, row.progress) == (0, 0, True, 0)
    assert abs(seconds_until(row.scheduled_for)) < 5


async def test_options_go_over_the_definition(send: Job[Mail, None], store: Store) -> None:
    await send.later(
        {"to": "ada"},
        queue="urgent",
        priority=-3,
        max_attempts=1,
        correlation_id="request 4711 – Ä",
        unique_key="ada",
    )

    (row,) = await rows(store)
    assert (row.queue, row.priority, row.max_attempts) == ("urgent", -3, 1)
    assert (row.correlation_id, row.unique_key) == ("request 4711 – Ä", "ada")


@pytest.mark.parametrize("delay", [90, 90.5, timedelta(seconds=90)])
async def test_delayed_job_is_due_later_by_the_databases_clock(
    send: Job[Mail, None], store: Store, delay: Any
) -> None:
    await send.later({"to": "ada"}, delay=delay)

    (row,) = await rows(store)
    assert 80 < seconds_until(row.scheduled_for) <= 90.5
    assert not row.ready
    assert await store.stage() == 0


async def test_scheduled_job_is_due_at_that_moment_in_any_zone(
    send: Job[Mail, None], store: Store
) -> None:
    moment = datetime(2035, 6, 1, 12, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=-7)))
    await send.later({"to": "ada"}, scheduled_for=moment)

    (row,) = await rows(store)
    assert row.scheduled_for == moment
    assert row.scheduled_for.tzinfo is UTC
    assert not row.ready


async def test_job_scheduled_in_the_past_is_due(send: Job[Mail, None], store: Store) -> None:
    await send.later({"to": "ada"}, scheduled_for=datetime(2001, 1, 1, tzinfo=UTC))

    (row,) = await rows(store)
    assert row.ready


WRONG_OPTIONS = [
    ({"scheduled_for": datetime(2035, 1, 1)}, "isn't a datetime with a time zone"),  # noqa: DTZ001
    ({"scheduled_for": datetime(2035, 1, 1, tzinfo=UTC), "delay": 1}, "not both"),
    ({"scheduled_for": "2035-01-01"}, "isn't a datetime with a time zone; use datetime.now"),
    ({"scheduled_for": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, "out of range"),
    ({"delay": -1}, "a delay of -1 s isn't between"),
    ({"delay": "5m"}, "delay='5m' is neither a timedelta nor a number of seconds"),
    ({"delay": True}, "neither a timedelta"),
    ({"delay": timedelta(days=-1)}, "isn't between 0 seconds and ten years"),
    ({"delay": float("nan")}, "a delay of nan"),
    ({"delay": float("inf")}, "a delay of inf"),
    ({"priority": 40_000}, "priority=40000"),
    ({"priority": 1.5}, "priority=1.5"),
    ({"queue": ""}, "queue=''"),
    ({"queue": "x" * 256}, "1 to 255 bytes"),
    ({"queue": "default,mail"}, "without blanks, commas"),
    ({"correlation_id": ""}, "correlation_id='' isn't text of 1 to 1,000 bytes"),
    ({"correlation_id": "a\0"}, "correlation_id='a"),
    ({"correlation_id": "a\udc80"}, "correlation_id='a"),
    ({"max_attempts": 0}, "max_attempts=0"),
]


@pytest.mark.parametrize(("options", "says"), WRONG_OPTIONS)
async def test_wrong_option_is_refused_and_nothing_written(
    send: Job[Mail, None], store: Store, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidOptionError, match=f"^Send: .*{says}"):
        await send.later({"to": "ada"}, **options)
    with pytest.raises(InvalidOptionError, match=f"^Send: .*{says}"):
        await send.later_many([{"to": "ada"}, {"to": "bob"}], **options)

    assert await rows(store) == []


@pytest.mark.parametrize("key", ["", "x" * 1_001, "a\0", 5])
async def test_wrong_unique_key_is_refused(send: Job[Mail, None], store: Store, key: Any) -> None:
    with pytest.raises(InvalidOptionError, match="Send: unique_key="):
        await send.later({"to": "ada"}, unique_key=key)

    assert await rows(store) == []


async def test_custom_retry_policy_is_not_stored(database: Database, store: Store) -> None:
    @define_job(name="Custom", retry_policy=RetryPolicy.custom(lambda attempt: attempt))
    async def custom(params: None) -> None: ...

    custom.set_database(database)
    await custom.later(None)

    assert (await rows(store))[0].retry_policy is None


# ── unique keys ──────────────────────────────────────────────────────────────────────────────


async def test_live_job_with_the_same_key_answers_for_the_new_one(
    send: Job[Mail, None], store: Store
) -> None:
    first = await send.later({"to": "ada"}, unique_key="k")
    second = await send.later({"to": "bob"}, unique_key="k")
    other = await send.later({"to": "bob"}, unique_key="other")

    assert second == first
    assert other != first
    assert {row.id for row in await rows(store)} == {first, other}
    assert json.loads((await send.get(first)).params)["to"] == "ada"


async def test_key_of_another_job_is_another_key(send: Job[Mail, None], database: Database) -> None:
    @define_job(name="Other")
    async def other(params: Mail) -> None: ...

    other.set_database(database)

    assert await send.later({"to": "ada"}, unique_key="k") != await other.later(
        {"to": "ada"}, unique_key="k"
    )


async def test_key_is_free_again_when_its_job_has_ended(send: Job[Mail, None]) -> None:
    first = await send.later({"to": "ada"}, unique_key="k")
    await send.cancel(first)

    assert await send.later({"to": "ada"}, unique_key="k") != first


async def test_key_is_one_jobs_however_many_want_it_at_once(
    send: Job[Mail, None], store: Store
) -> None:
    ids = await asyncio.gather(*(send.later({"to": "ada"}, unique_key="k") for _ in range(20)))

    assert len(set(ids)) == 1
    assert [row.id for row in await rows(store)] == [ids[0]]


# ── many ─────────────────────────────────────────────────────────────────────────────────────


async def test_many_jobs_take_few_statements_and_keep_their_order(
    send: Job[Mail, None], database: Database, store: Store
) -> None:
    statements = 0

    def count(batch: Any) -> None:
        nonlocal statements
        statements += len(batch)

    counting = FaultyDatabase(database)
    counting.plan = count
    send.set_database(counting)
    ids = await send.later_many(
        [{"to": f"n{number}"} for number in range(2_500)], priority=1, correlation_id="c", delay=60
    )

    assert statements == 3
    assert ids == sorted(ids)
    assert len(set(ids)) == 2_500
    by_id = {row.id: row for row in await rows(store)}
    assert [json.loads(by_id[job_id].params)["to"] for job_id in ids] == [
        f"n{number}" for number in range(2_500)
    ]
    assert {(row.priority, row.queue, row.correlation_id) for row in by_id.values()} == {
        (1, "mail", "c")
    }
    # One moment for the whole call: nobody's watch runs between the statements of a transaction.
    assert {row.ready for row in by_id.values()} == {False}


async def test_many_of_nothing_is_nothing(send: Job[Mail, None], store: Store) -> None:
    assert await send.later_many([]) == []
    assert await rows(store) == []


@pytest.mark.parametrize(
    "wrong", [{"to": 5}, {}, {"to": "a\0b"}, {"to": "x" * 2_000_000}, {"to": "\udc80"}]
)
async def test_many_are_all_refused_for_one(
    send: Job[Mail, None], store: Store, wrong: dict[str, Any]
) -> None:
    fine: list[Any] = [{"to": "ada"}] * 1_200
    with pytest.raises(InvalidParamsError, match="Send: params"):
        await send.later_many([*fine, wrong])

    assert await rows(store) == []


async def test_many_are_all_or_none_where_the_database_refuses_one(
    send: Job[Mail, None], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of several statements breaks a constraint that Python's checks know as well."""
    made = 0
    original = send.definition.params.dump

    def dump(value: Mail, *, max_bytes: int) -> str:
        nonlocal made
        made += 1
        return original(value, max_bytes=max_bytes) if made < 2_400 else "not JSON"

    monkeypatch.setattr(send.definition.params, "dump", dump)
    with pytest.raises(Exception, match=r"(?i)json"):
        await send.later_many([{"to": "ada"}] * 2_500)

    assert await rows(store) == []


async def test_payloads_up_to_the_limit_are_stored(migrated_url: str) -> None:
    database = connect(migrated_url, max_payload_bytes=3_000_000)

    @define_job(name="Large")
    async def large(params: str) -> None: ...

    large.set_database(database)
    try:
        ids = await large.later_many(["x" * 2_999_998] * 3)
        assert [len((await large.get(job_id)).params) for job_id in ids] == [3_000_000] * 3
    finally:
        await database.close()
