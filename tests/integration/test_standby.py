"""A server in recovery: it can be read, and takes neither writes nor LISTEN until its promotion."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from server_jobs import connect
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.servers.postgres import PostgresServer, killable_server
from tests.support.servers.strange import echo_job, params
from tests.support.workers import PATIENCE_SECONDS, drain, registry_of


@pytest.fixture(scope="module")
def standby() -> Iterator[PostgresServer]:
    """A migrated server that has become a standby of none."""
    with killable_server({"fsync": "off"}) as server:
        migrate(server.url)
        server.stop()
        data = server.socket.parent / "data"
        signal = data / "standby.signal"
        signal.touch()
        owner = data.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        server.start()
        yield server


async def test_what_writes_is_told_that_this_is_a_standby(standby: PostgresServer) -> None:
    database = connect(standby.url)
    echo = echo_job(database)

    assert await Store(database).list_jobs() == []
    with pytest.raises(DatabaseUnavailableError, match="target_session_attrs=read-write"):
        await echo.later(params())
    with pytest.raises(DatabaseUnavailableError, match="can't connect"):
        await Store(connect(f"{standby.url}&target_session_attrs=read-write")).list_jobs()
    await database.close()


@pytest.mark.parametrize("first", ["the standby", "the primary"])
async def test_of_several_hosts_each_part_finds_the_one_that_takes_writes(
    standby: PostgresServer, postgres_url: str, first: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        hosts = [connection.info.host, str(standby.socket.parent)]
        port = connection.info.port
    if first == "the standby":
        hosts.reverse()
    url = (
        f"postgresql://postgres@{urlsplit(postgres_url).path}"
        f"?host={quote(hosts[0], safe='')}&host={quote(hosts[1], safe='')}&port={port}"
    )
    migrate(url)
    database = connect(url)
    echo = echo_job(database)

    await echo.later(params())

    assert (await drain(database, registry_of(database, echo))).completed == 1
    assert len(await Store(database).list_jobs()) == 1
    await database.close()


@pytest.mark.parametrize("option", ["", "&target_session_attrs=read-write"])
@pytest.mark.usefixtures("process_state")
async def test_a_standby_alone_is_one_failure_that_says_where_to_lead(
    standby: PostgresServer, option: str
) -> None:
    cli = Cli(database_url=f"{standby.url}{option}", schema="another")

    migrated = await asyncio.to_thread(cli, "migrate")
    attended = await asyncio.to_thread(cli, "doctor", "--json")

    assert migrated.exit_code == 1
    assert migrated.output.count("let the URL lead to the primary") == 1
    failures = [one for one in json.loads(attended.stdout) if one["level"] == "fail"]
    said = [one for one in failures if "standby" in one["text"]]
    assert len(said) == 1
    assert "primary" in said[0]["text"] + said[0]["advice"]


async def test_a_listener_says_once_that_it_polls_and_listens_after_the_promotion(
    standby: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    database = connect(standby.url)
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        await database.wait_for_change(0.05)

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "refuses LISTEN" in said[0]
    with psycopg.connect(standby.url, autocommit=True) as connection:
        connection.execute("SELECT pg_promote()")
        await database.wait_for_change(0.05)
        async with asyncio.timeout(PATIENCE_SECONDS):
            waiting = asyncio.create_task(database.wait_for_change(3_600))
            while not waiting.done():
                connection.execute("NOTIFY server_jobs")
                await asyncio.sleep(0.05)
    assert len([one for one in caplog.records if "LISTEN" in one.getMessage()]) == 1
    await database.close()
