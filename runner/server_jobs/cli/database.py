"""Which database a command works on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from server_jobs.database import DEFAULT_DATABASE_URL, Database, SqliteUrl, connect, parse_url
from server_jobs.errors import (
    DatabaseNotConfiguredError,
    InvalidDatabaseUrlError,
    MigrationRequiredError,
)
from server_jobs.job import Job
from server_jobs.registry import JobRegistry
from server_jobs.store.store import Store


def worker_database(url: str | None, registry: JobRegistry) -> Database:
    """Return a worker's database: the one that is named, else the app's own, else the default.

    It is bound to the registry, so that handlers enqueue into the same database.
    """
    if url is None and registry.database is not None:
        return registry.database
    database = existing_database(url)
    registry.bind(database)
    return database


def job_database(url: str | None, job: Job[Any, Any]) -> Database:
    """Return a job's database: the one that is named, else the job's own, else the default.

    A named database is set on the job: it takes precedence over what the app's code says.
    """
    if url is None:
        with suppress(DatabaseNotConfiguredError):
            return job.database
    database = existing_database(url)
    job.set_database(database)
    return database


def existing_database(url: str | None) -> Database:
    """Return the database at ``url``. A file must exist, because looking for jobs mustn't make one.

    Raises InvalidDatabaseUrlError and MigrationRequiredError.
    """
    url = url or DEFAULT_DATABASE_URL
    file = lasting_file(url)
    if file is not None and not file.exists():
        raise MigrationRequiredError(
            f"there is no database {file} yet: run `server-jobs migrate`, or name another one with"
            " --database"
        )
    return connect(url)


def lasting_file(url: str) -> Path | None:
    """Return SQLite's file, or None for a server.

    Raises InvalidDatabaseUrlError for a database in memory.
    """
    parsed = parse_url(url)
    if not isinstance(parsed, SqliteUrl):
        return None
    file = parsed.file
    if file is None:
        raise InvalidDatabaseUrlError(
            "a database in memory ends with this command; give a file: sqlite:///server-jobs.db"
        )
    if not file.absolute().parent.is_dir():
        raise InvalidDatabaseUrlError(
            f"there is no folder {file.absolute().parent} for the database {file.name}: make it,"
            " or name another one with --database"
        )
    return file


@asynccontextmanager
async def opened_store(database: Database) -> AsyncIterator[Store]:
    """Open the records of a database, check its tables, and close it at the end."""
    try:
        store = Store(database)
        await store.check_schema()
        yield store
    finally:
        await database.close()
