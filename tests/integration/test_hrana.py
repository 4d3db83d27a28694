"""libSQL's driver against a Hrana server that also fails, and the tools on it."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, column, literal, select
from sqlalchemy.engine import make_url

from server_jobs.database import Database, connect
from server_jobs.database.hrana import HranaDatabase
from server_jobs.database.httpx_transport import HttpxTransport
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    ForeignTableError,
    InvalidDatabaseUrlError,
    MigrationRequiredError,
    SchemaTooNewError,
)
from server_jobs.migrate import migrate
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import NewJob
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import tables
from server_jobs.store.store import Store
from tests.support.servers.hrana import TOKEN, Cut, HranaServer

ONE = Statement(select(literal(1)))


@pytest.fixture(scope="module")
def server() -> Iterator[HranaServer]:
    with HranaServer(busy_seconds=0.02) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "served.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def url(server: HranaServer, file: Path) -> str:
    server.faults.clear()
    return f"{server.serve(file)}?authToken={TOKEN}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = connect(url)
    yield database
    await database.close()


def jobs(number: int) -> list[NewJob]:
    return [NewJob(id=f"{i:04}", job_name="Greet", params="{}") for i in range(number)]


def insertion(database: Database, number: int) -> Statement:
    values = {"id": f"{number:04}", "job_name": "Greet", "queue": "default", "params": "{}"}
    return Statement(database.tables.jobs.insert().values(values))


def rows(file: Path, sql: str = "SELECT count(*) FROM jobs") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


def schema_of(file: Path) -> list[list[str]]:
    made = rows(file, "SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY 1, 2")
    return [" ".join(map(str, row)).split() for row in made]  # white space is Alembic's


async def test_call_is_one_request(server: HranaServer, database: Database) -> None:
    store = Store(database)
    await store.enqueue(jobs(50))
    before = server.requests

    claimed = await store.claim(ClaimRequest("default", ["Greet"], 50, "w", 60.0, True))

    assert len(claimed) == 50
    assert server.requests - before == 1
    assert server.streams == {}


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((401, '{"error":"expired"}'), DatabaseUnavailableError, "SERVER_JOBS_DATABASE_TOKEN"),
        ((404, ""), DatabaseUnavailableError, "doesn't have this database"),
        ((307, ""), DatabaseUnavailableError, "redirects to another address"),
        ((413, ""), DataRefusedError, "too large for the server"),
        ((400, '{"message":"bad SQL"}'), DatabaseError, "bad SQL"),
        ((500, "oops"), DatabaseUnavailableError, "HTTP 500: oops"),
        ((200, "<html>a shop</html>"), DatabaseError, "doesn't speak Hrana"),
        ((200, '{"results":[]}'), DatabaseError, "doesn't speak Hrana"),
    ],
)
async def test_refusal_says_what_to_do(
    server: HranaServer,
    database: Database,
    answer: tuple[int, str],
    error: type[DatabaseError],
    says: str,
) -> None:
    server.faults.append(answer)
    before = server.requests

    with pytest.raises(error, match=says) as raised:
        await database.execute(ONE)

    assert server.requests - before == 1
    assert TOKEN not in str(raised.value)
    assert f"127.0.0.1:{server.port}" in str(raised.value)


async def test_wrong_token_is_refused_by_the_server(server: HranaServer, file: Path) -> None:
    database = connect(f"{server.serve(file)}?authToken=wrong")

    with pytest.raises(DatabaseUnavailableError, match="refused the token"):
        await database.execute(ONE)

    await database.close()


async def test_urls_own_token_goes_before_the_environments(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_JOBS_DATABASE_TOKEN", "of another database")
    of_server = connect(url)
    of_worker = HranaDatabase(
        make_url(url), transport=HttpxTransport(), tables=tables(), token="of another database"
    )

    for database in (of_server, of_worker):
        assert await database.execute(ONE) == [(1,)]
        await database.close()


@pytest.mark.parametrize(
    "result",
    [
        "{}",
        '{"rows": null}',
        '{"rows": [[{"type": "integer", "value": "one"}]]}',
        '{"step_results": [null, null, null, null, null]}',
        '{"step_errors": [], "step_results": []}',
        '{"step_errors": [], "step_results": [{}, {"rows": []}, {}, null]}',
    ],
)
async def test_answer_that_cannot_be_read_is_one_that_was_lost(
    server: HranaServer, database: Database, result: str
) -> None:
    answer = f'{{"results": [{{"type": "ok", "response": {{"result": {result}}}}}]}}'
    server.faults.append((200, answer))

    with pytest.raises(DatabaseUnavailableError, match="answer can't be read"):
        await (database.batch([ONE, ONE]) if "step" in result else database.execute(ONE))


async def test_statement_is_compiled_once_for_all_databases(url: str) -> None:
    compiled = 0

    class Counted(Select[Any]):
        inherit_cache = False

        def compile(self, *args: Any, **options: Any) -> Any:
            nonlocal compiled
            compiled += 1
            return super().compile(*args, **options)

    shape = Counted(literal(1))
    for _ in range(2):
        database = connect(url)
        assert await database.execute(Statement(shape)) == [(1,)]
        await database.close()

    assert compiled == 1


async def test_limit_on_requests_is_waited_for(server: HranaServer, database: Database) -> None:
    server.faults.extend([(429, ""), (429, "")])

    assert await database.execute(ONE) == [(1,)]


@pytest.mark.parametrize(("cut", "stored"), [(Cut.BEFORE, 0), (Cut.AFTER, 3), (Cut.WITHIN, 3)])
async def test_call_without_an_answer_isnt_sent_again(
    server: HranaServer, database: Database, file: Path, cut: Cut, stored: int
) -> None:
    await database.execute(ONE)
    server.faults.append(cut)
    before = server.requests

    with pytest.raises(DatabaseUnavailableError, match="no answer"):
        await database.batch([insertion(database, i) for i in range(3)])

    assert server.requests - before == 1
    assert rows(file) == [(stored,)]


async def test_silent_server_is_given_up(server: HranaServer, url: str) -> None:
    database = connect(f"{url}&answer_timeout=0.2")
    server.faults.append(0.8)

    with pytest.raises(DatabaseUnavailableError, match="no answer"):
        await database.execute(ONE)

    await database.close()


async def test_unreachable_server_is_named(tmp_path: Path) -> None:
    with HranaServer() as gone:
        url = gone.serve(tmp_path / "gone.db")
    database = connect(f"{url}?authToken={TOKEN}")

    with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1.*can't connect") as raised:
        await database.execute(ONE)

    assert TOKEN not in str(raised.value)
    await database.close()


async def test_busy_database_is_tried_again(
    server: HranaServer, database: Database, file: Path
) -> None:
    before = server.requests
    with server.write_lock_held(file):
        with pytest.raises(DatabaseUnavailableError, match="SQLITE_BUSY"):
            await database.batch([insertion(database, i) for i in range(2)])
        tries = server.requests - before

    await database.batch([insertion(database, i) for i in range(2)])

    assert tries == 5
    assert rows(file) == [(2,)]


async def test_batch_is_all_or_nothing(server: HranaServer, database: Database, file: Path) -> None:
    insert = insertion(database, 1)

    with pytest.raises(ConstraintViolatedError, match="UNIQUE"):
        await database.batch([insert, insert])

    assert rows(file) == [(0,)]
    # The connection that the server will use again was left without a transaction.
    assert await database.batch([insert, ONE]) == [[], [(1,)]]


async def test_old_tables_ask_for_a_migration(server: HranaServer, tmp_path: Path) -> None:
    database = connect(f"{server.serve(tmp_path / 'empty.db')}?authToken={TOKEN}")

    with pytest.raises(MigrationRequiredError, match="server-jobs migrate"):
        await Store(database).check_schema()
    with pytest.raises(MigrationRequiredError, match="no such table"):
        await database.execute(Statement(select(database.tables.jobs.c.id)))

    await database.close()


async def test_values_without_a_type_are_refused_unsent(
    server: HranaServer, database: Database
) -> None:
    before = server.requests
    for value in (2**63, float("nan"), "\ud800", object()):
        statement = Statement(select(column("x").label("x")).where(literal(value) == literal(1)))
        with pytest.raises(DataRefusedError):
            await database.execute(statement)

    assert server.requests == before


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("libsql://db.turso.io", "https://db.turso.io/v2/pipeline"),
        ("libsql://db.turso.io:8443/?tls=1", "https://db.turso.io:8443/v2/pipeline"),
        ("libsql://localhost:8080?tls=0", "http://localhost:8080/v2/pipeline"),
        ("https://host/one/two/", "https://host/one/two/v2/pipeline"),
        ("http://[::1]:8080", "http://[::1]:8080/v2/pipeline"),
    ],
)
def test_url_leads_to_the_pipeline(url: str, address: str) -> None:
    database = HranaDatabase(make_url(url), transport=HttpxTransport(), tables=tables())

    assert database._address == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("libsql://", "names no host"),
        ("libsql://user:secret@host", "token instead of a user"),
        ("libsql://host?pool_size=3", "no option 'pool_size'"),
        ("https://host?tls=0", "of libsql:// URLs only"),
        ("libsql://host?answer_timeout=soon", "isn't a number"),
        ("wss://host", "wss:// isn't supported; use .* or libsql://"),
        ("libsql://host?authToken=a%0Ab", "characters that tokens can't have"),
    ],
)
def test_bad_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match=says) as raised:
        connect(url)

    assert "secret" not in str(raised.value)


def test_schema_is_postgresqls(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="no schemas"):
        connect(url, schema="app")


async def test_environment_names_url_and_token_as_turso_does(
    server: HranaServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server_jobs import JobRegistry

    monkeypatch.setenv("TURSO_DATABASE_URL", server.serve(file))
    monkeypatch.setenv("TURSO_AUTH_TOKEN", TOKEN)
    database = JobRegistry().environment_database()

    assert database is not None
    assert await database.execute(ONE) == [(1,)]
    assert TOKEN not in repr(database)
    await database.close()


def test_migration_makes_the_same_tables_as_on_a_file(
    server: HranaServer, file: Path, tmp_path: Path
) -> None:
    served = tmp_path / "empty.db"
    url = f"{server.serve(served)}?authToken={TOKEN}"

    taken = migrate(url)

    assert len(taken) >= 2
    assert schema_of(served) == schema_of(file)
    assert rows(served, "SELECT * FROM server_jobs_version") == [(taken[-1],)]
    assert migrate(url) == []


def test_eight_migrations_at_once_take_each_step_once(tmp_path: Path) -> None:
    with HranaServer() as server:
        url = f"{server.serve(tmp_path / 'empty.db')}?authToken={TOKEN}"
        with ThreadPoolExecutor(8) as threads:
            taken = list(threads.map(migrate, [url] * 8))

    assert sorted(map(len, taken))[:7] == [0] * 7
    assert len(max(taken, key=len)) >= 2


def test_migration_from_an_older_step_takes_those_after_it(
    server: HranaServer, tmp_path: Path
) -> None:
    from server_jobs.migrate import migration_files

    served = tmp_path / "old.db"
    first = next(iter(migration_files("sqlite").values()))
    with closing(sqlite3.connect(served)) as connection:
        connection.executescript(first)

    taken = migrate(f"{server.serve(served)}?authToken={TOKEN}")

    assert taken[0] != "0001"
    assert rows(served, "SELECT * FROM server_jobs_version") == [(taken[-1],)]


def test_migration_touches_no_foreign_and_no_newer_table(
    server: HranaServer, tmp_path: Path
) -> None:
    foreign, newer = tmp_path / "foreign.db", tmp_path / "newer.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE jobs (id)")
    migrate(f"sqlite:///{newer}")
    with closing(sqlite3.connect(newer, isolation_level=None)) as connection:
        connection.execute("UPDATE server_jobs_version SET version_num = '9999'")

    with pytest.raises(ForeignTableError, match="jobs"):
        migrate(f"{server.serve(foreign)}?authToken={TOKEN}")
    with pytest.raises(SchemaTooNewError, match="9999"):
        migrate(f"{server.serve(newer)}?authToken={TOKEN}")


def test_commands_work_on_it(server: HranaServer, file: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from server_jobs import create_job_registry, define_job\n"
        "@define_job(name='Double')\n"
        "def double(params: int) -> int:\n"
        "    return 2 * params\n"
        "registry = create_job_registry().register(double)\n"
    )
    environment = {
        "PATH": "/usr/bin",
        "TURSO_DATABASE_URL": server.serve(file),
        "SERVER_JOBS_DATABASE_TOKEN": TOKEN,
        "SERVER_JOBS_APP": "app:registry",
    }

    def run(*arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "server_jobs.cli", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert TOKEN not in ran.stdout + ran.stderr
        return ran.stdout

    for number in ("0", "1"):
        run("enqueue", "Double", "--params-json", number)
    run("worker", "--drain")

    assert rows(file, "SELECT status, result FROM jobs ORDER BY result") == [
        ("completed", "0"),
        ("completed", "2"),
    ]
    assert "libsql" in run("doctor")
