"""A lease on a name: one holder at a time, until it lets go or the lease expires."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Float, Text, bindparam, delete, or_, select, true, update
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.database.batch import Batch
from server_jobs.sql.constructs import add_seconds, insert_or_ignore
from server_jobs.sql.statement import Statement
from server_jobs.sql.statement_set import StatementSet

_NAME = bindparam("name", type_=Text())
_HOLDER = bindparam("holder", type_=Text())


class NamedLeaseStatements(StatementSet):
    """The statements on ``leases``."""

    def insert(self, name: str, holder: str, *, seconds: float) -> Statement:
        """Insert the row of a name, unless there is one."""
        return Statement(self._insert, {"name": name, "holder": holder, "seconds": seconds})

    @cached_property
    def _insert(self) -> Executable:
        columns = ("name", "holder", "expires_at")
        row = select(_NAME, _HOLDER, self._expires).where(true())
        return insert_or_ignore(self._tables.leases, columns, row, postgres=self._postgres)

    def take(self, name: str, holder: str, *, seconds: float) -> Statement:
        """Take the name if it is free, expired or ours → the holder, if it is ours now."""
        return Statement(self._take, {"name": name, "holder": holder, "seconds": seconds})

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
        """Delete the row of a name, if it is ours."""
        return Statement(self._let_go, {"name": name, "holder": holder})

    @cached_property
    def _let_go(self) -> Executable:
        lease = self._tables.leases.c
        return delete(self._tables.leases).where(lease.name == _NAME, lease.holder == _HOLDER)


class NamedLease:
    """A lease on a name, as one holder takes it and lets go of it.

    ``now`` replaces the database's clock by another SQL expression.
    """

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
        """Take the name, or keep it, for so many seconds from now → whether it is ours."""
        batch = Batch()
        batch.add(self._sql.insert(self._name, self._holder, seconds=seconds))
        taken = batch.add(self._sql.take(self._name, self._holder, seconds=seconds))
        await batch.run(self._database)
        return bool(taken.rows)

    async def let_go(self) -> None:
        """Let go of the name. Nothing happens where somebody else holds it."""
        await self._database.execute(self._sql.let_go(self._name, self._holder))
