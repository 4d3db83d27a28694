"""What a database says about itself: how it keeps data, and what hinders it.

Read by `server-jobs doctor`; none of it is about jobs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, Integer, Select, Text, bindparam, column, func, literal, select, table
from sqlalchemy.types import DateTime

from server_jobs.database import Database
from server_jobs.sql.constructs import db_now, seconds_between
from server_jobs.sql.statement import Statement


@dataclass(frozen=True, slots=True)
class SqliteFacts:
    """How this connection writes the file."""

    journal_mode: str
    synchronous: int


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """The server's version and the settings that this connection works under."""

    version: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    read_only: bool
    standby: bool


@dataclass(frozen=True, slots=True)
class OldTransaction:
    """A session whose transaction has been open for long; vacuum keeps what it may still see."""

    pid: int
    application: str
    state: str
    seconds: float


async def sqlite_facts(database: Database) -> SqliteFacts:
    """SQLite's settings."""
    values = [
        (await database.execute(Statement(select(column(name)).select_from(_pragma(name)))))[0][0]
        for name in ("journal_mode", "synchronous")
    ]
    return SqliteFacts(*values)


async def sqlite_version(database: Database) -> str:
    """The version of SQLite that a file or a server is read with."""
    ((version,),) = await database.execute(Statement(select(func.sqlite_version())))
    return str(version)


async def sqlite_damage(database: Database) -> list[str]:
    """What is wrong with the file. Reads all of it."""
    check: Select[Any] = select(column("quick_check")).select_from(_pragma("quick_check"))
    return [text for (text,) in await database.execute(Statement(check)) if text != "ok"]


def _pragma(name: str) -> Any:
    return getattr(func, f"pragma_{name}")().table_valued(name)


async def postgres_facts(database: Database) -> PostgresFacts:
    """PostgreSQL's version and settings."""
    setting = func.current_setting
    wanted = select(
        setting("server_version"),
        setting("fsync") == "on",
        setting("full_page_writes") == "on",
        setting("synchronous_commit"),
        setting("transaction_read_only") == "on",
        func.pg_is_in_recovery(),
    )
    ((version, *settings),) = await database.execute(Statement(wanted))
    return PostgresFacts(version.split()[0], *settings)


async def old_transactions(database: Database, older_than: float) -> list[OldTransaction]:
    """Transactions in this database that have been open for that many seconds, oldest first."""
    activity = table(
        "pg_stat_activity",
        column("pid", Integer()),
        column("datname", Text()),
        column("application_name", Text()),
        column("state", Text()),
        column("xact_start", DateTime(timezone=True)),
        column("backend_type", Text()),
    ).c
    age = seconds_between(db_now(), activity.xact_start)
    wanted = (
        select(activity.pid, activity.application_name, func.coalesce(activity.state, ""), age)
        .where(
            activity.datname == func.current_database(),
            activity.backend_type == "client backend",
            age > bindparam("older_than", older_than, type_=Float()),
        )
        .order_by(activity.xact_start)
    )
    return [OldTransaction(*row) for row in await database.execute(Statement(wanted))]


async def notifications_arrive(database: Database, within: float = 2.0) -> bool:
    """Whether what is announced on one connection wakes another one. Wakes the workers, too."""
    await database.wait_for_change(0)  # begins to listen
    clock = asyncio.get_running_loop().time
    waiting = asyncio.ensure_future(database.wait_for_change(within))
    began = clock()
    # The same text as an enqueued job's, for a queue that nobody has.
    announce = select(func.pg_notify(literal(database.tables.channel), literal("")))
    await database.execute(Statement(announce))
    await waiting
    return clock() - began < within
