"""PostgreSQL as somebody else has set it up, and everything that server-jobs does on it.

A test has a table of these servers. Each says how it is set up, and what comes of it: everything
works, or one error that says what to set.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from pydantic import BaseModel

from server_jobs import Job, JobStatus, connect, define_job
from server_jobs.database import Database
from server_jobs.errors import ServerJobsError
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.support.servers.postgres import temporary_database
from tests.support.workers import drain, registry_of

MOMENT = datetime(2031, 2, 3, 4, 5, 6, 123_456, tzinfo=UTC)
"""Day and month can be told apart, and it has microseconds."""
TEXT = "Zoë & Müller"
"""Text that any encoding of Western Europe has, too."""


class Words(BaseModel):
    """Params whose types a server's settings might change."""

    text: str
    at: datetime
    share: float = 0.1 + 0.2


@dataclass(frozen=True)
class StrangeServer:
    """How a server is set up, and what comes of it.

    ``setup`` is SQL for a superuser in the new database, with ``{role}`` and ``{database}`` for the
    names of server-jobs' own; ``options`` are added to the URL. ``schema`` is the schema that
    server-jobs is told to use. ``refused`` is a pattern of the one error, None where all works.
    """

    setup: tuple[str, ...] = ()
    options: str = ""
    schema: str | None = None
    encoding: str = "UTF8"
    refused: str | None = None


@dataclass(frozen=True)
class Place:
    """A database on a server: where its superuser and where server-jobs connects."""

    admin: str
    url: str
    role: str
    schema: str | None

    def sql(self, *statements: str) -> None:
        """Run SQL as the superuser."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """The database object of server-jobs."""
        database = connect(self.url, schema=self.schema)
        try:
            yield database
        finally:
            await database.close()


@contextlib.contextmanager
def set_up(postgres_server: str, server: StrangeServer) -> Iterator[Place]:
    """Make a database and a role of its own that owns it, and set both up."""
    role = f"stranger_{uuid4().hex[:12]}"
    with temporary_database(postgres_server, server.encoding) as admin:
        database = urlsplit(admin).path.lstrip("/")
        separator = "&" if urlsplit(admin).query else "?"
        options = f"{separator}{server.options}" if server.options else ""
        place = Place(admin, f"{_as_role(admin, role)}{options}", role, server.schema)
        place.sql(
            f"CREATE ROLE {role} LOGIN PASSWORD 'stranger'",
            f'ALTER DATABASE "{database}" OWNER TO {role}',
            f"GRANT ALL ON SCHEMA public TO {role}",
        )
        try:
            place.sql(*(part.format(role=role, database=f'"{database}"') for part in server.setup))
            yield place
        finally:
            with psycopg.connect(admin, autocommit=True) as connection:
                connection.execute(f"DROP OWNED BY {role} CASCADE")
                connection.execute(f'ALTER DATABASE "{database}" OWNER TO CURRENT_USER')
                connection.execute(f"DROP ROLE {role}")


async def everything_works(place: Place) -> None:
    """Migrate, enqueue in each way, work, and read what was written, as the role."""
    await asyncio.to_thread(migrate, place.url, schema=place.schema)
    assert await asyncio.to_thread(migrate, place.url, schema=place.schema) == []
    async with place.database() as database:
        echo = echo_job(database)
        ids = [await echo.later(params()), await echo.later(params(), unique_key="one")]
        ids += await echo.later_many([params() for _ in range(20)])
        planned = await echo.later(params(), scheduled_for=MOMENT)
        assert await echo.later(params(), unique_key="one") == ids[1]

        assert (await drain(database, registry_of(database, echo))).completed == len(ids)

        for job_id in ids:
            row = await echo.get(job_id)
            assert row.status is JobStatus.COMPLETED
            assert (await echo.wait(job_id)).data == params()
        waiting = await echo.get(planned)
        assert (waiting.status, waiting.scheduled_for) == (JobStatus.PENDING, MOMENT)
        now = datetime.now(UTC)
        assert abs(waiting.created_at - now) < timedelta(minutes=1)
        assert len(await Store(database).list_jobs()) == len(ids) + 1


async def comes_of(place: Place, server: StrangeServer) -> None:
    """Check that everything works, or that the one expected error is raised."""
    if server.refused is None:
        await everything_works(place)
        return
    with pytest.raises(ServerJobsError, match=server.refused):
        await everything_works(place)


def echo_job(database: Database) -> Job[Words, Words]:
    """A job whose result is its params."""

    @define_job(name="Echo")
    async def echo(params: Words) -> Words:
        return params

    echo.set_database(database)
    return echo


def params() -> Words:
    """Params that are the same each time."""
    return Words(text=TEXT, at=MOMENT)


def _as_role(url: str, role: str, password: str = "stranger") -> str:
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{address}"))


def cases(servers: dict[str, StrangeServer]) -> Any:
    """The servers as cases of a test, which their names tell apart."""
    return pytest.mark.parametrize("server", list(servers.values()), ids=list(servers))
