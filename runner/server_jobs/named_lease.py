"""A lease on a name: one holder at a time, until it lets go or the database's clock says so."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.named_lease_statements import NamedLeaseStatements, named_lease_statements


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
        dialect_name = database.dialect.name
        self._sql = (
            named_lease_statements(database.tables, dialect_name)
            if now is None
            else NamedLeaseStatements(database.tables, dialect_name, now)
        )

    async def take(self, seconds: float) -> bool:
        """Take it for so long, or for so long again → whether nobody else has it."""
        wanted = self._sql.take(self._name, self._holder, seconds=seconds)
        _, taken = await self._database.batch(wanted)
        return bool(taken)

    async def let_go(self) -> None:
        """Let somebody else have it. Nothing happens where another one already has."""
        await self._database.execute(self._sql.let_go(self._name, self._holder))
