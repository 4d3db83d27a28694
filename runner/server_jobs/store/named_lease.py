"""A lease on a name: one holder at a time, until it lets go or the database's clock says so."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Float, Text, bindparam, delete, or_, select, true, update
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.sql.constructs import add_seconds, insert_or_ignore
from server_jobs.sql.statement import Statement
from server_jobs.sql.statement_set import StatementSet

_NAME = bindparam("name", type_=Text())
_HOLDER = bindparam("holder", type_=Text())


class NamedLeaseStatements(StatementSet):
    """The statements for one set of tables."""

    def take(self, name: str, holder: str, *, seconds: float) -> list[Statement]:
        """Two for one batch: have a row, then make it ours if it may be → the holder, if it is."""
        values = {"name": name, "holder": holder, "seconds": seconds}
        return [Statement(self._insert, values), Statement(self._take, values)]

    @cached_property
    def _insert(self) -> Executable:
        columns = ("name", "holder", "expires_at")
        row = select(_NAME, _HOLDER, self._expires).where(true())
        return insert_or_ignore(self._tables.leases, columns, row, postgres=self._postgres)

    @cached_property
    def _take(self) -> Executable:
        lease = self._tables.leases.c
        return (
            update(self._tables.leases)
            .where(lease.name == _NAME, or_(lease.holder == _HOLDER, lease.expires_at <= self._now))
            .values(holder=_HOLDER, expires_at=self._expires)
            .returning(lease.holder)
        )

    @property
    def _expires(self) -> ColumnElement[Any]:
        return add_seconds(self._now, bindparam("seconds", type_=Float()))

    def let_go(self, name: str, holder: str) -> Statement:
        """Delete the row, if it is ours."""
        return Statement(self._let_go, {"name": name, "holder": holder})

    @cached_property
    def _let_go(self) -> Executable:
        lease = self._tables.leases.c
        return delete(self._tables.leases).where(lease.name == _NAME, lease.holder == _HOLDER)


class NamedLease:
    """What ``holder`` has, or wants, of a name. ``now`` replaces the database's clock."""

    def __init__(
        self,
        database: Database,
        name: str,
        holder: str,
        now: ColumnElement[datetime] | None = None,
    ) -> None:
        self._database = database
        self._name = name
        self._holder = holder
        self._sql = NamedLeaseStatements.of(database, now)

    async def take(self, seconds: float) -> bool:
        """Take it for so long, or for so long again → whether nobody else has it."""
        wanted = self._sql.take(self._name, self._holder, seconds=seconds)
        _, taken = await self._database.batch(wanted)
        return bool(taken)

    async def let_go(self) -> None:
        """Let somebody else have it. Nothing happens where another one already has."""
        await self._database.execute(self._sql.let_go(self._name, self._holder))
