"""Asks a database about itself: its settings, its old transactions, its damage.

`server-jobs doctor` reads these facts. None of them is about jobs.
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
    """Holds the settings by which this connection writes the file.

    ``synchronous`` is SQLite's number: 0 off, 1 normal, 2 full, 3 extra.
    """

    journal_mode: str
    synchronous: int


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """Holds the server's version and the settings that apply to this connection."""

    version: str
    encoding: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    read_only: bool
    standby: bool


@dataclass(frozen=True, slots=True)
class OldTransaction:
    """Describes a session whose transaction has been open for ``seconds``.

    Vacuum keeps the dead rows that such a transaction may still see.
    """

    pid: int
    application: str
    state: str
    seconds: float


async def sqlite_facts(database: Database) -> SqliteFacts:
    """Read SQLite's settings of this connection."""
    values = [
        (await database.execute(Statement(select(column(name)).select_from(_pragma(name)))))[0][0]
        for name in ("journal_mode", "synchronous")
    ]
    return SqliteFacts(*values)


async def sqlite_version(database: Database) -> str:
    """Read the version of SQLite that serves this database."""
    ((version,),) = await database.execute(Statement(select(func.sqlite_version())))
    return str(version)


async def sqlite_damage(database: Database) -> list[str]:
    """Check the whole file for damage → SQLite's findings; empty if it is sound."""
    check: Select[Any] = select(column("quick_check")).select_from(_pragma("quick_check"))
    return [text for (text,) in await database.execute(Statement(check)) if text != "ok"]


def _pragma(name: str) -> Any:
    return getattr(func, f"pragma_{name}")().table_valued(name)


async def postgres_facts(database: Database) -> PostgresFacts:
    """Read PostgreSQL's version and the settings of this connection."""
    setting = func.current_setting
    wanted = select(
        setting("server_version"),
        setting("server_encoding"),
        setting("fsync") == "on",
        setting("full_page_writes") == "on",
        setting("synchronous_commit"),
        setting("transaction_read_only") == "on",
        func.pg_is_in_recovery(),
    )
    ((version, *settings),) = await database.execute(Statement(wanted))
    return PostgresFacts(version.split()[0], *settings)


async def hidden_tables(database: Database) -> list[str]:
    """Find our tables of which this role sees only the rows that policies show → their names.

    Elsewhere than on PostgreSQL there are none.
    """
    if database.dialect.name != "postgresql":
        return []
    tables = database.tables
    quoted = database.dialect.identifier_preparer.format_table
    hidden = [
        func.row_security_active(func.to_regclass(literal(quoted(one))))
        for one in (tables.jobs, tables.cron_jobs)
    ]
    (row,) = await database.execute(Statement(select(*hidden)))
    names = (tables.jobs.fullname, tables.cron_jobs.fullname)
    return [name for name, is_hidden in zip(names, row, strict=True) if is_hidden]


async def old_transactions(database: Database, older_than: float) -> list[OldTransaction]:
    """Find the transactions in this database that are older than so many seconds, oldest first."""
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
    """Test whether a notification on one connection wakes another one ``within`` seconds.

    It also wakes the workers, which then find nothing new.
    """
    await database.wait_for_change(0)  # begins to listen
    clock = asyncio.get_running_loop().time
    waiting = asyncio.ensure_future(database.wait_for_change(within))
    began = clock()
    # The same notification as for an enqueued job, but of a queue that doesn't exist.
    announce = select(func.pg_notify(literal(database.tables.channel), literal("")))
    await database.execute(Statement(announce))
    await waiting
    return clock() - began < within
