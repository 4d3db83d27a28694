"""Rows that others write: what works with next to nothing, and what no row may say."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from server_jobs.database import Database
from server_jobs.errors import ConstraintViolatedError, DatabaseError
from server_jobs.records.outcomes import Completed
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.databases.kinds import KINDS
from tests.support.scene import JOB, claim_of

FINISHED = {"status": "'completed'", "completed_at": "'2030-01-01 00:00:00'"}
RUNNING = {
    "status": "'running'",
    "worker_expires_at": "'2030-01-01 00:00:00'",
    "fence": "1",
    "attempt_count": "1",
}


async def insert(database: Database, **literals: str) -> None:
    """Insert a row by hand; values are SQL literals."""
    values = {"id": "'by-hand'", "job_name": f"'{JOB}'"} | literals
    sql = f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join(values.values())})"
    await database.execute(Statement(text(sql.replace(":", "\\:"))))


async def test_row_of_an_id_and_a_name_is_a_job(database: Database) -> None:
    store = Store(database)
    await insert(database)
    record = await store.get("by-hand")
    assert (record.status, record.params, record.errors) == (JobStatus.PENDING, "{}", "[]")
    assert (record.queue, record.max_attempts, record.ready) == ("default", 3, False)

    assert await store.stage() == 1
    (job,) = await store.claim(claim_of())
    settled = await store.settle({job.claim: Completed("1")})

    assert settled["by-hand"].status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    "literals",
    [FINISHED, RUNNING, {"status": "'failed'", "completed_at": "'2030-01-01 00:00:00.5'"}],
    ids=["finished", "running", "failed"],
)
async def test_consistent_row_is_taken(database: Database, literals: dict[str, str]) -> None:
    await insert(database, **literals)

    assert (await Store(database).get("by-hand")).id == "by-hand"


BROKEN: dict[str, tuple[str, dict[str, str]]] = {
    "unknown-status": ("status_known", {"status": "'done'"}),
    "progress-over-100": ("progress_range", {"progress": "100.5"}),
    "negative-progress": ("progress_range", {"progress": "-1"}),
    "finished-without-a-moment": ("finished_iff_completed_at", {"status": "'failed'"}),
    "moment-without-an-end": (
        "finished_iff_completed_at",
        {"completed_at": "'2030-01-01 00:00:00'"},
    ),
    "running-without-a-lease": (
        "running_iff_leased",
        RUNNING | {"worker_expires_at": "NULL"},
    ),
    "lease-without-running": (
        "running_iff_leased",
        {"worker_expires_at": "'2030-01-01 00:00:00'"},
    ),
    "running-without-a-fence": ("running_has_claim", RUNNING | {"fence": "0"}),
    # A rescue gives the attempt back; one below none would stop the rescue of all others.
    "running-without-an-attempt": ("running_has_claim", RUNNING | {"attempt_count": "0"}),
    "no-attempts-allowed": ("counts", {"max_attempts": "0"}),
    "negative-attempts": ("counts", {"attempt_count": "-1"}),
    "negative-fence": ("counts", {"fence": "-1"}),
    "negative-releases": ("counts", {"release_count": "-1"}),
    # Appending to no array would stop the settling of all others.
    "errors-not-in-a-list": ("errors_list", {"errors": "'{}'"}),
    "errors-null": ("errors_list", {"errors": "'null'"}),
}


@pytest.mark.parametrize(("constraint", "literals"), BROKEN.values(), ids=BROKEN.keys())
async def test_row_that_lies_is_refused(
    database: Database, constraint: str, literals: dict[str, str]
) -> None:
    with pytest.raises(ConstraintViolatedError, match=f"jobs_{constraint}"):
        await insert(database, **literals)


async def insert_schedule(database: Database, **literals: str) -> None:
    """Insert a schedule by hand; values are SQL literals."""
    values = {
        "id": "'by-hand'",
        "name": "'nightly'",
        "job_name": f"'{JOB}'",
        "cron_expression": "'0 3 * * *'",
    } | literals
    sql = f"INSERT INTO cron_jobs ({', '.join(values)}) VALUES ({', '.join(values.values())})"
    await database.execute(Statement(text(sql)))


@pytest.mark.parametrize(
    "literals",
    [{}, {"catchup_window_seconds": "NULL"}, {"catchup_window_seconds": "0.5"}],
    ids=["defaults", "no-window", "short-window"],
)
async def test_schedule_that_makes_sense_is_taken(
    database: Database, literals: dict[str, str]
) -> None:
    await insert_schedule(database, **literals)


BROKEN_SCHEDULES: dict[str, tuple[str, dict[str, str]]] = {
    "unknown-overlap": ("overlap_known", {"overlap": "'sometimes'"}),
    "unknown-catchup": ("catchup_known", {"catchup": "'some'"}),
    "negative-jitter": ("jitter_range", {"jitter_seconds": "-1"}),
    "no-attempts-allowed": ("attempts", {"max_attempts": "0"}),
    "window-without-length": ("catchup_range", {"catchup_window_seconds": "0"}),
    "negative-window": ("catchup_range", {"catchup_window_seconds": "-1"}),
    "nothing-made-up-for": ("catchup_count", {"catchup_limit": "0"}),
}


@pytest.mark.parametrize(
    ("constraint", "literals"), BROKEN_SCHEDULES.values(), ids=BROKEN_SCHEDULES.keys()
)
async def test_schedule_that_makes_no_sense_is_refused(
    database: Database, constraint: str, literals: dict[str, str]
) -> None:
    with pytest.raises(ConstraintViolatedError, match=f"cron_jobs_{constraint}"):
        await insert_schedule(database, **literals)


async def test_one_schedule_fires_once_at_a_moment(database: Database) -> None:
    fire = {"cron_job_id": "'schedule'", "cron_fire_at": "'2030-01-01 00:00:00'"}
    await insert(database, **fire)

    with pytest.raises(ConstraintViolatedError):
        await insert(database, id="'again'", **fire)


@pytest.mark.parametrize("column", ["params", "result", "errors", "retry_policy", "runtime"])
@pytest.mark.parametrize("document", ["{", "", "{a: 1}", "nope", "[1,]"])
async def test_what_isnt_json_is_refused(database: Database, column: str, document: str) -> None:
    # A database with a type for documents refuses it by that, without a constraint of ours.
    with pytest.raises(DatabaseError, match=r"_json|jobs_errors_list|type json"):
        await insert(database, **{column: f"'{document}'"})


MALFORMED = {
    "word": "yesterday",
    "now": "now",
    "empty": "",
    "iso-t": "2030-01-01T00:00:00",
    "zone": "2030-01-01 00:00:00+02:00",
    "zulu": "2030-01-01 00:00:00.5Z",
    "day-only": "2030-01-01",
    "minutes-only": "2030-01-01 00:00",
    "month-13": "2030-13-01 00:00:00",
    "february-30": "2030-02-30 00:00:00",
    "hour-24": "2030-01-01 24:00:00",
    "leap-second": "2030-01-01 00:00:60",
    "year-0": "0000-01-01 00:00:00",
    "no-fraction": "2030-01-01 00:00:00.",
    "epoch": "1893456000",
    "digits-without-a-point": "2030-01-01 00:00:005",
}


@pytest.mark.parametrize("moment", MALFORMED.values(), ids=MALFORMED.keys())
async def test_moment_that_could_not_be_read_again_is_refused_where_it_is_text(
    database: Database, moment: str
) -> None:
    if database.dialect.name == "postgresql":
        # It has a type for moments: it refuses nonsense, and takes every way to write one.
        await refused_or_readable(database, moment)
        return
    for column in ("scheduled_for", "created_at", "cron_fire_at"):
        # SQLite calls "now" an error of the constraint itself, not a row that breaks it.
        with pytest.raises(DatabaseError, match=f"jobs_{column}_time|in a CHECK constraint"):
            await insert(database, **{column: f"'{moment}'"})


async def refused_or_readable(database: Database, moment: str) -> None:
    try:
        await insert(database, scheduled_for=f"'{moment}'")
    except DatabaseError:
        return
    assert (await Store(database).get("by-hand")).scheduled_for.tzinfo is not None


@pytest.mark.parametrize(
    "moment",
    [
        "2030-01-01 00:00:00",
        "2030-12-31 23:59:59.999999",
        "2028-02-29 12:00:00.1",
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59.999999",
    ],
)
async def test_moment_of_our_format_is_taken_and_read(database: Database, moment: str) -> None:
    zone = "+00" if database.dialect.name == "postgresql" else ""
    await insert(database, scheduled_for=f"'{moment}{zone}'")

    read = (await Store(database).get("by-hand")).scheduled_for
    assert read == datetime.fromisoformat(moment).replace(tzinfo=UTC)


# ── values ───────────────────────────────────────────────────────────────────────────────────

WRONG_VALUES: dict[str, tuple[str, dict[str, str]]] = {
    "id-of-no-characters": ("id_value", {"id": "''"}),
    "name-of-no-characters": ("job_name_value", {"job_name": "''"}),
    "queue-of-2700-bytes": ("queue_value", {"queue": f"'{'q' * 2_700}'"}),
    "key-of-no-characters": ("unique_key_value", {"unique_key": "''"}),
    "correlation-id-of-1001-bytes": (
        "correlation_id_value",
        {"correlation_id": f"'{'x' * 1_001}'"},
    ),
    "count-at-the-end-of-its-type": ("attempt_count_value", {"attempt_count": "2147483647"}),
    "launch-failures-likewise": ("launch_failures_value", {"launch_failures": "2147483647"}),
    "releases-likewise": ("release_count_value", {"release_count": "1000000001"}),
    "fence-beyond-javascript": ("fence_value", {"fence": "9007199254740993"}),
    "no-time-at-all": ("timeout_value", {"timeout_seconds": "0"}),
    "a-century": ("timeout_value", {"timeout_seconds": "3155760000"}),
    "policy-that-is-a-list": ("retry_policy_value", {"retry_policy": "'[]'"}),
    "runtime-that-is-null": ("runtime_value", {"runtime": "'null'"}),
    "too-many-errors": ("errors_value", {"errors": f"'[{'1,' * 100}1]'"}),
}


@pytest.mark.parametrize(("constraint", "literals"), WRONG_VALUES.values(), ids=WRONG_VALUES.keys())
async def test_value_that_no_code_writes_is_refused(
    database: Database, constraint: str, literals: dict[str, str]
) -> None:
    with pytest.raises(ConstraintViolatedError, match=f"jobs_{constraint}"):
        await insert(database, **literals)


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "4713-01-01 00:00:00 BC"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k.name == "postgres"], ids=["postgres"])
async def test_moment_beyond_pythons_is_refused(database: Database, moment: str) -> None:
    with pytest.raises(ConstraintViolatedError, match="jobs_scheduled_for_value"):
        await insert(database, scheduled_for=f"'{moment}'")
    with pytest.raises(ConstraintViolatedError, match="cron_jobs_ends_at_value"):
        await insert_schedule(database, ends_at=f"'{moment}'")


@pytest.mark.parametrize("number", ["'NaN'", "'infinity'"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k.name == "postgres"], ids=["postgres"])
async def test_number_that_is_none_is_refused(database: Database, number: str) -> None:
    with pytest.raises(ConstraintViolatedError, match="jobs_timeout_value"):
        await insert(database, timeout_seconds=number)
    for column in ("jitter_seconds", "catchup_window_seconds"):
        name = column.removesuffix("_seconds")
        with pytest.raises(ConstraintViolatedError, match=f"cron_jobs_{name}_value"):
            await insert_schedule(database, **{column: number})


OF_NO_TYPE = {
    "priority": ["'high'", "''", "x'00'", "1.5", "9e999"],
    "attempt_count": ["'one'", "x'00'"],
    "ready": ["2", "'yes'", "x'01'"],
    "timeout_seconds": ["'soon'", "x'00'"],
    "job_name": ["x'6869'", "'a' || char(0)"],
    "scheduled_for": ["CAST('2030-01-01 00:00:00' AS BLOB)"],
    "params": ["CAST('{}' AS BLOB)", "'{}' || char(0)"],
}


each_kind_without_types = pytest.mark.parametrize(
    "kind", [k for k in KINDS if k.name != "postgres"], ids=lambda kind: kind.name
)


@each_kind_without_types
@pytest.mark.parametrize(
    ("column", "value"), [(name, each) for name, tried in OF_NO_TYPE.items() for each in tried]
)
async def test_value_of_another_type_is_refused_where_columns_have_none(
    database: Database, column: str, value: str
) -> None:
    name = f"jobs_{column.removesuffix('_seconds')}_(value|time)"
    with pytest.raises(ConstraintViolatedError, match=name):
        await insert(database, **{column: value})


NO_TEXT = {
    "latin-1": "636166e9",
    "latin-1-amid": "6361e96674",
    "goes-on-from-nothing": "61b062",
    "overlong": "c0af",
    "surrogate": "eda080",
    "never-a-byte": "ff",
}


@each_kind_without_types
@pytest.mark.parametrize("bytes_", NO_TEXT.values(), ids=NO_TEXT.keys())
async def test_bytes_that_are_no_text_are_refused(database: Database, bytes_: str) -> None:
    text_of = f"CAST(x'{bytes_}' AS TEXT)"
    for column, value in {
        "queue": text_of,
        "error": text_of,
        "params": f"""('{{"a": "' || {text_of} || '"}}')""",
    }.items():
        with pytest.raises(ConstraintViolatedError, match=f"jobs_{column}_value"):
            await insert(database, **{column: value})


@pytest.mark.parametrize(
    "words",
    [
        "é",
        "\ufffd",
        "a\ufffdb",
        "\ufffe\uffff",
        "漢字",
        "👩‍👩‍👧‍👦",
        "\x80\xbf",
        "\U0010ffff",
        "\t\n",
    ],
)
async def test_text_of_any_characters_is_taken(database: Database, words: str) -> None:
    await insert(
        database,
        queue=f"'{words}'",
        error=f"'{words}'",
        params=f"""'{{"a": "{words.replace(chr(9), "").replace(chr(10), "")}"}}'""",
    )

    record = await Store(database).get("by-hand")
    assert (record.queue, record.error) == (words, words)
