"""``connect(url)``: what it takes, and how it says what is wrong. Nothing is opened here."""

import pytest

from server_jobs.database import Database, connect
from server_jobs.errors import InvalidDatabaseUrlError
from server_jobs.migrate import migrate

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite://", "SqliteDatabase(:memory:)"),
        ("sqlite:///:memory:", "SqliteDatabase(:memory:)"),
        ("sqlite:////tmp/jobs.db", "SqliteDatabase(/tmp/jobs.db)"),
        ("sqlite:////tmp/me@home/@jobs@.db", "SqliteDatabase(/tmp/me@home/@jobs@.db)"),
        ("postgresql://host/jobs?user=me@home", "user=me%40home"),
        ("sqlite+aiosqlite:////tmp/jobs.db", "SqliteDatabase(/tmp/jobs.db)"),
        ("sqlite:////tmp/jobs.db?synchronous=NORMAL&busy_timeout=2.5", "(/tmp/jobs.db)"),
        (f"postgresql://me:{SECRET}@host:5433/jobs", "postgresql://me:***@host:5433/jobs"),
        (f"postgres://me:{SECRET}@host/jobs", "postgresql://me:***@host/jobs"),
        (f"postgresql+asyncpg://me:{SECRET}@host/jobs", "me:***@host/jobs"),
        (f"postgresql://host/jobs?user=me&password={SECRET}", "host/jobs?user=me"),
        (
            "postgresql://host/jobs?pool_size=3&pgbouncer=true&notify=false",
            "postgresql://host/jobs",
        ),
        ("postgresql:///jobs?host=/run/postgresql&application_name=shop", "/jobs?"),
    ],
)
def test_url_is_taken_and_shown_without_its_password(url: str, shown: str) -> None:
    database = connect(url)

    assert shown in repr(database)
    assert SECRET not in repr(database)


def test_relative_path_is_settled_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A program that changes its folder later still means the same file.
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    database = connect("sqlite:///jobs.db")
    monkeypatch.chdir("/")

    assert repr(database) == f"SqliteDatabase({here / 'jobs.db'})"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "can't be parsed"),
        ("jobs.db", "can't be parsed"),
        (f"postgresql//me:{SECRET}@host/jobs", "can't be parsed"),
        (f"me:{SECRET}@host/jobs", "can't be parsed"),
        (f"postgresql://me:{SECRET}@host:port/jobs", "can't be parsed"),
        (f"mysql://me:{SECRET}@host/jobs", "mysql:// isn't supported"),
        (f"http://me:{SECRET}@host/jobs", "libSQL takes a token"),
        (f"postgresql://me:p@{SECRET}/word@host/jobs", "written %40"),
        (f"postgresql://me:p@{SECRET}?word@host/jobs", "written %40"),
        (f"postgresql://me:{SECRET}@host/jobs?options=a@b", "written %40"),
        (f"sqlite://me:p@{SECRET}", "sqlite:///relative"),
        (f"sqlite://me:p@x@{SECRET}", "written %40"),
        ("sqlite://host", "sqlite:///relative"),
        ("sqlite://jobs.db", "sqlite:///relative"),
        (f"sqlite://me:{SECRET}@/jobs.db", "sqlite:///relative"),
        (f"sqlite:///jobs.db?password={SECRET}", "no option 'password'"),
        ("sqlite:///jobs.db?mode=ro", "there are busy_timeout, synchronous"),
        ("sqlite:///jobs.db?synchronous=sometimes", "off, normal, full or extra"),
        ("sqlite:///jobs.db?busy_timeout=soon", "busy_timeout='soon' isn't a number"),
        ("sqlite:///jobs.db?busy_timeout=-1", "out of range"),
        ("sqlite:///jobs.db?busy_timeout=inf", "out of range"),
        ("sqlite:///jobs.db?busy_timeout=nan", "out of range"),
        (f"postgresql://me:{SECRET}@host/jobs?pool_size=many", "pool_size='many'"),
        (f"postgresql://me:{SECRET}@host/jobs?pool_size=0", "pool_size"),
        (f"postgresql://me:{SECRET}@host/jobs?pgbouncer=perhaps", "pgbouncer='perhaps'"),
        (f"postgresql://me:{SECRET}@host/jobs?answer_timeout=soon", "answer_timeout='soon'"),
        (f"postgresql://me:{SECRET}@host/jobs?answer_timeout=0.5", "answer_timeout=0.5"),
        (f"postgresql://me:{SECRET}@host/jobs?nonsense=1", "nonsense"),
        (f"postgresql://host/jobs?password={SECRET}&nonsense=1", "nonsense"),
    ],
)
def test_bad_url_is_refused_with_a_hint_and_without_its_password(url: str, hint: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError) as caught:
        connect(url)

    assert hint in str(caught.value)
    assert SECRET not in str(caught.value)
    # A traceback shows no error behind it either.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    "prefix", ["1st_", "my-", "my jobs", "x" * 31, 'q"', "ž_", "Shop_", "a.b", "; --"]
)
def test_prefix_that_cannot_be_part_of_a_name_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="table_prefix"):
        connect("sqlite://", table_prefix=prefix)


@pytest.mark.parametrize("schema", ["my-schema", "x" * 64, 'q"', "1st"])
def test_schema_that_is_no_name_is_refused(schema: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="schema"):
        connect("postgresql://host/jobs", schema=schema)


def test_sqlite_has_no_schemas() -> None:
    for use in (connect, migrate):
        with pytest.raises(InvalidDatabaseUrlError, match="table_prefix"):
            use("sqlite://", schema="work")


@pytest.mark.parametrize("limit", [0, -1, 10**12])
def test_payload_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="max_payload_bytes"):
        connect("sqlite://", max_payload_bytes=limit)


def test_bad_payload_limit_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_JOBS_MAX_PAYLOAD_BYTES", "a lot")

    with pytest.raises(InvalidDatabaseUrlError, match="SERVER_JOBS_MAX_PAYLOAD_BYTES='a lot'"):
        connect("sqlite://")


def names(database: Database) -> tuple[str | None, str]:
    return database.tables.schema, database.tables.prefix


def test_environment_gives_what_isnt_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_JOBS_SCHEMA", "work")
    monkeypatch.setenv("SERVER_JOBS_TABLE_PREFIX", "shop_")
    monkeypatch.setenv("SERVER_JOBS_MAX_PAYLOAD_BYTES", "2000")

    database = connect("postgresql://host/jobs")
    assert names(database) == ("work", "shop_")
    assert database.capabilities.max_payload_bytes == 2_000

    database = connect(
        "postgresql://host/jobs", schema="own", table_prefix="own_", max_payload_bytes=30
    )
    assert names(database) == ("own", "own_")
    assert database.capabilities.max_payload_bytes == 30


def test_empty_names_overrule_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_JOBS_SCHEMA", "work")
    monkeypatch.setenv("SERVER_JOBS_TABLE_PREFIX", "shop_")

    assert names(connect("postgresql://host/jobs", schema="", table_prefix="")) == (None, "")
