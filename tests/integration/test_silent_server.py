"""A server that takes what is sent and never answers is unavailable, and isn't waited for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from sqlalchemy import text

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.sql.statement import Statement
from tests.support.servers.silent_proxy import SilentProxy, silent_proxy
from tests.support.workers import PATIENCE_SECONDS, until

SESSION = Statement(text("SELECT pg_backend_pid()"))
LIMITS = Statement(
    text(
        "SELECT current_setting('statement_timeout'),"
        " current_setting('idle_in_transaction_session_timeout'),"
        " current_setting('transaction_timeout', true)"
    )
)


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[SilentProxy]:
    folder = parse_qs(urlsplit(postgres_url).query)["host"][0]
    async with silent_proxy(Path(folder) / ".s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
async def database(postgres_url: str, proxy: SilentProxy) -> AsyncIterator[Database]:
    name = urlsplit(postgres_url).path
    database = connect(
        f"postgresql://postgres@127.0.0.1:{proxy.port}{name}?answer_timeout=1&connect_timeout=2&pool_size=1"
    )
    yield database
    await database.close()


@pytest.mark.parametrize("statements", [1, 2], ids=["a statement", "a batch"])
async def test_a_connection_that_fell_silent_is_given_up_and_the_next_one_serves(
    database: Database, proxy: SilentProxy, statements: int
) -> None:
    ((before,),) = await database.execute(SESSION)
    proxy.silence()

    with pytest.raises(DatabaseUnavailableError, match=r"for 1 seconds \(answer_timeout"):
        await database.batch([SESSION] * statements)

    ((after,),) = await database.execute(SESSION)
    assert after != before


async def test_a_server_that_never_answers_at_all_is_unavailable(
    database: Database, proxy: SilentProxy
) -> None:
    proxy.accepts_silently = True

    with pytest.raises(DatabaseUnavailableError, match="can't connect"):
        await database.execute(SESSION)


async def test_a_server_that_lives_says_itself_that_it_took_too_long(postgres_url: str) -> None:
    database = connect(f"{postgres_url}&answer_timeout=4&pool_size=1")
    ((before,),) = await database.execute(SESSION)

    with pytest.raises(DatabaseUnavailableError, match=r"statement timeout.*answer_timeout=4"):
        await database.execute(Statement(text("SELECT pg_sleep(60)")))

    ((after,),) = await database.execute(SESSION)
    assert after == before, "its connection is as good as new"
    await database.close()


async def test_a_slow_answer_that_keeps_coming_is_no_silence(database: Database) -> None:
    # Longer than the timeout as a whole, never as long without a word.
    slow = Statement(text("SELECT repeat('x', 10000) FROM generate_series(1, 12), pg_sleep(0.15)"))

    assert len((await database.batch([slow] * 12))[-1]) == 12


@pytest.mark.parametrize(
    ("option", "limits"),
    [
        ("answer_timeout=10", ("8s", "8s", "40s")),
        ("answer_timeout=0", ("0", "0", "0")),
        ("pgbouncer=true", ("0", "0", "0")),
        ("options=-c%20statement_timeout%3D60000", ("1min", "24s", "2min")),
    ],
    ids=["bounded", "not bounded", "session shared by pgbouncer", "set by the user"],
)
async def test_the_session_is_bounded_where_nobody_else_has_done_so(
    postgres_url: str, option: str, limits: tuple[str, str]
) -> None:
    database = connect(f"{postgres_url}&{option}")

    assert await database.execute(LIMITS) == [limits]

    await database.close()


async def test_what_a_role_has_set_for_other_programs_is_not_for_ours(postgres_url: str) -> None:
    name = urlsplit(postgres_url).path.lstrip("/")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET statement_timeout = 5')
    database = connect(postgres_url)

    assert await database.execute(LIMITS) == [("24s", "24s", "2min")]

    await database.close()


async def test_what_was_cut_in_the_middle_of_a_message_lets_go_of_its_locks(
    database: Database, proxy: SilentProxy, postgres_url: str
) -> None:
    lock = Statement(text("SELECT CAST(pg_advisory_xact_lock(1) AS text)"))
    long = Statement(text("SELECT CAST(:text AS text)"), {"text": "x" * 100_000})
    await database.execute(SESSION)
    proxy.silence(lambda: 10_000)

    with pytest.raises(DatabaseUnavailableError):
        await database.batch([lock, long])

    limit = f"options=-c%20statement_timeout%3D{int(PATIENCE_SECONDS)}s"
    with psycopg.connect(f"{postgres_url}&{limit}") as connection:
        connection.execute("SELECT pg_advisory_xact_lock(1)")


async def test_a_listener_that_fell_silent_listens_again(
    database: Database, proxy: SilentProxy, postgres_url: str
) -> None:
    await database.wait_for_change(0.1)
    proxy.silence()

    async def listens_again() -> bool:
        await database.wait_for_change(0.1)
        return proxy.accepted == 2

    await until(listens_again, "the listener has a second connection")
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting = asyncio.create_task(database.wait_for_change(3_600))
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("NOTIFY server_jobs")
        await waiting
