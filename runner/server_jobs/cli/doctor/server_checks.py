"""The checks of ``doctor`` on the database itself, for each kind of database."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

from server_jobs.cli.doctor.checks import Finding, Level, Patient
from server_jobs.cli.durations import in_words
from server_jobs.monitoring.server_facts import (
    hidden_tables,
    notifications_arrive,
    old_transactions,
    postgres_facts,
    sqlite_damage,
    sqlite_facts,
    sqlite_version,
)

OPEN_TOO_LONG = 600.0
LITTLE_SPACE = 200 * 1024 * 1024

_SYNCHRONOUS = ("off", "normal", "full", "extra")


async def sqlite(patient: Patient, file: Path) -> AsyncIterator[Finding]:
    """Check how the file is written, and how much space is left beside it."""
    facts = await sqlite_facts(patient.database)
    synchronous = _SYNCHRONOUS[facts.synchronous]
    if facts.journal_mode != "wal":
        yield Finding(
            "sqlite",
            Level.WARN,
            f"the journal is {facts.journal_mode}, not wal: readers and writers block each other",
            "close what else has the file open, or move it off a network file system",
        )
    if facts.synchronous == 0:
        yield Finding(
            "sqlite",
            Level.WARN,
            "synchronous is off: a power cut may destroy the file",
            "take ?synchronous=off out of the URL; normal loses the last commits at worst",
        )
    else:
        yield Finding(
            "sqlite", Level.OK, f"journal {facts.journal_mode}, synchronous {synchronous}"
        )
    yield space_finding(file)
    if patient.quick_check:
        yield _damage_finding(await sqlite_damage(patient.database))


def space_finding(file: Path) -> Finding:
    """Return the finding about the size of a file and its log, and the free space beside them."""
    parts = (file, file.with_name(f"{file.name}-wal"))
    size = sum(part.stat().st_size for part in parts if part.exists())
    free = shutil.disk_usage(file.absolute().parent).free
    return Finding(
        "space",
        Level.OK if free > LITTLE_SPACE else Level.WARN,
        f"the file takes {_megabytes(size)}, {_megabytes(free)} are free beside it",
        "" if free > LITTLE_SPACE else "make room: without any, no job can be recorded",
    )


def _damage_finding(damage: list[str]) -> Finding:
    if not damage:
        return Finding("quick-check", Level.OK, "SQLite finds the file sound")
    more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
    return Finding(
        "quick-check",
        Level.FAIL,
        f"the file is damaged: {damage[0]}{more}",
        "stop the workers, and restore a backup or dump what can be read with sqlite3 .recover",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.1f} MiB"


async def libsql(patient: Patient) -> AsyncIterator[Finding]:
    """Report the version of SQLite that the server is built on, and how long a call takes."""
    began = time.monotonic()
    version = await sqlite_version(patient.database)
    yield Finding(
        "libsql",
        Level.OK,
        f"SQLite {version} over HTTP, {(time.monotonic() - began) * 1_000:.0f} ms a call;"
        " workers poll",
    )


async def postgres(patient: Patient) -> AsyncIterator[Finding]:
    """Check the server's settings, old transactions, and whether workers can be woken."""
    facts = await postgres_facts(patient.database)
    yield Finding("postgresql", Level.OK, f"version {facts.version}")
    if facts.standby or facts.read_only:
        yield Finding(
            "postgresql",
            Level.FAIL,
            "the server takes no writes: it is a standby, or this role or database is read-only",
            "let --database lead to the primary (target_session_attrs=read-write)",
        )
    if facts.encoding != "UTF8":
        yield Finding(
            "postgresql",
            Level.WARN,
            f"the database's encoding is {facts.encoding}: jobs with characters that it lacks fail,"
            " and workers can't renew leases meanwhile",
            "dump it, and restore it into a database with ENCODING 'UTF8'",
        )
    for name, safe in (("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)):
        if not safe:
            yield Finding(
                "postgresql",
                Level.WARN,
                f"{name} is off: a crash of the machine may destroy the database",
                f"set {name} = on in postgresql.conf",
            )
    if facts.synchronous_commit == "off":
        yield Finding(
            "postgresql",
            Level.WARN,
            "synchronous_commit is off: a crash loses the last commits, so that jobs run again or"
            " are lost just after later() returned",
            "ALTER ROLE … SET synchronous_commit = on for the role of server-jobs",
        )
    if hidden := await hidden_tables(patient.database):
        yield Finding(
            "postgresql",
            Level.WARN,
            f"row level security hides rows of {' and '.join(hidden)} from this role: only what"
            " policies show can be worked on",
            "ALTER ROLE … BYPASSRLS, or add a policy that shows all rows",
        )
    async for finding in _held_back(patient):
        yield finding
    if facts.standby or facts.read_only:
        return  # it takes no notifications either
    if not patient.database.capabilities.notifies:
        yield Finding("notify", Level.OK, "pgbouncer=true: workers poll, nothing is listened to")
    elif await notifications_arrive(patient.database):
        yield Finding("notify", Level.OK, "notifications arrive: workers wake at once")
    else:
        yield Finding(
            "notify",
            Level.WARN,
            "notifications don't arrive: is this a pooler that shares sessions?",
            "behind pgbouncer in transaction mode, add ?pgbouncer=true to the URL: workers poll",
        )


async def _held_back(patient: Patient) -> AsyncIterator[Finding]:
    old = await old_transactions(patient.database, OPEN_TOO_LONG)
    for session in old:
        yield Finding(
            "vacuum",
            Level.WARN,
            f"a transaction of {session.application or 'an unnamed program'} (pid {session.pid},"
            f" {session.state or 'state unknown'}) has been open for {in_words(session.seconds)}:"
            " no table can be cleaned of what it may still see, and claims become slower",
            f"end it: SELECT pg_terminate_backend({session.pid}); and set"
            " idle_in_transaction_session_timeout",
        )
    if not old:
        yield Finding(
            "vacuum", Level.OK, f"no transaction has been open for {in_words(OPEN_TOO_LONG)}"
        )
