"""URLs that lead to a real server: over TCP with a password, by a socket, by a service."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from server_jobs.errors import DatabaseUnavailableError
from server_jobs.migrate import migrate
from tests.support.cli import Cli
from tests.support.servers.postgres import PostgresServer, killable_server
from tests.support.servers.strange import Place, everything_works

PASSWORD = " s3cret%@:/?#[]&=+\"'\\ü€"
NAME = "jobs %@:/?#[]&=+\"'\\ü€ x"
LISTENING = "127.0.0.1"


@dataclass
class Listening:
    """A server that asks for passwords, and its port."""

    server: PostgresServer
    port: int

    @property
    def folder(self) -> str:
        """The folder of its socket."""
        return str(self.server.socket.parent)


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with socket.socket() as free:
        free.bind((LISTENING, 0))
        port = free.getsockname()[1]
    settings = {"fsync": "off", "listen_addresses": LISTENING, "port": str(port)}
    with killable_server(settings) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(NAME), sql.Literal(PASSWORD)
                )
            )
            connection.execute(
                sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(NAME))
            )
            hba = server.socket.parent / "data" / "pg_hba.conf"
            hba.write_text(
                "local all postgres trust\nlocal all all scram-sha-256\n"
                f"host all all {LISTENING}/32 scram-sha-256\n"
            )
            connection.execute("SELECT pg_reload_conf()")
        yield Listening(server, port)


def encoded(text: str) -> str:
    return quote(text, safe="")


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


FORMS = {
    "URL": "postgresql://{user}:{password}@{host}:{port}/{name}",
    "options": "postgresql://?user={user}&password={password}&host={host}&port={port}&dbname={name}",
    "SQLAlchemy's": "postgresql+psycopg://{user}:{password}@/{name}?host={host}:{port}",
    "socket": "postgresql://{user}:{password}@{folder}:{port}/{name}",
    "socket as an option": "postgres://{user}:{password}@/{name}?host={folder}&port={port}",
    "a host that is away": "postgresql://{user}:{password}@{host}:1,{host}:{port}/{name}",
    "hosts as options": "postgresql://{user}:{password}@/{name}?host={host}&host={host}&port=1&port={port}",
    "in any order": "postgresql://{user}:{password}@{host}:1,{host}:{port}/{name}?load_balance_hosts=random",
    "line break": "'postgresql://{user}:{password}@{host}:{port}/{name}'\n",
}


def url_of(listening: Listening, form: str) -> str:
    return form.format(
        user=encoded(NAME),
        password=encoded(PASSWORD),
        name=encoded(NAME),
        host=LISTENING,
        port=listening.port,
        folder=encoded(listening.folder),
    )


@pytest.fixture(autouse=True)
def empty(listening: Listening) -> None:
    with psycopg.connect(listening.server.url, dbname=NAME, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute(
            sql.SQL("CREATE SCHEMA public AUTHORIZATION {}").format(sql.Identifier(NAME))
        )


@pytest.mark.parametrize("form", list(FORMS.values()), ids=list(FORMS))
async def test_every_part_connects(listening: Listening, form: str) -> None:
    await everything_works(Place("", url_of(listening, form), NAME, None))


async def test_libpqs_other_form_connects(listening: Listening) -> None:
    url = (
        f"host={LISTENING} port={listening.port} user={quoted(NAME)} password={quoted(PASSWORD)}"
        f" dbname={quoted(NAME)} pool_size=2"
    )
    await everything_works(Place("", url, NAME, None))


@pytest.mark.parametrize("url", ["postgresql://", "postgresql:///", "postgresql://?pool_size=3"])
async def test_libpqs_variables_connect(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text(
        f"*:*:*:*:{PASSWORD.replace(chr(92), chr(92) * 2).replace(':', chr(92) + ':')}\n"
    )
    passfile.chmod(0o600)
    for name, value in {
        "PGHOST": LISTENING,
        "PGPORT": str(listening.port),
        "PGUSER": NAME,
        "PGDATABASE": NAME,
        "PGPASSFILE": str(passfile),
    }.items():
        monkeypatch.setenv(name, value)
    await everything_works(Place("", url, NAME, None))


@pytest.mark.parametrize("url", ["postgresql://?service=jobs", "service=jobs", "postgresql://"])
async def test_a_service_connects(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    services = tmp_path / "pg_service.conf"
    services.write_text(
        f"[jobs]\nhost={LISTENING}\nport={listening.port}\nuser={NAME}\ndbname={NAME}\n"
        f"password={PASSWORD}\nconnect_timeout=7\napplication_name=shop\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    if "service" not in url:
        monkeypatch.setenv("PGSERVICE", "jobs")
    await everything_works(Place("", url, NAME, None))


@pytest.mark.parametrize("form", list(FORMS.values()), ids=list(FORMS))
def test_a_wrong_password_is_not_shown(listening: Listening, form: str) -> None:
    url = url_of(listening, form).replace("s3cret", "hunter2")

    with pytest.raises(DatabaseUnavailableError) as caught:
        migrate(url)

    assert "password authentication failed" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    result = Cli(database_url=url)("--debug", "list")
    assert "hunter2" not in result.output
    assert "password authentication failed" in result.output
