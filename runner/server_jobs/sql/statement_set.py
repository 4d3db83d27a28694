"""Defines the base of all sets of statements: their tables, dialect and current moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Protocol, Self

from sqlalchemy import Table, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from server_jobs.sql.constructs import db_now
from server_jobs.sql.tables import Tables


class HasTables(Protocol):
    """Offers what statements need to know of a database."""

    @property
    def tables(self) -> Tables:
        """The tables of this installation, whose names statements must use."""

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect of its SQL."""


class StatementSet:
    """Base of the statements on one installation's tables, in one dialect.

    A method builds one statement: its shape, which is made once per set, and the values of this
    run. ``now`` is the SQL expression for the moment by which leases and due times are judged; by
    default it is the database's clock.
    """

    _shared: ClassVar[dict[tuple[Tables, str], Any]]

    def __init__(
        self, tables: Tables, dialect_name: str, now: ColumnElement[datetime] | None = None
    ) -> None:
        self._tables = tables
        self._jobs = tables.jobs
        self._postgres = dialect_name == "postgresql"
        self._now: ColumnElement[Any] = db_now() if now is None else now

    @classmethod
    def of(cls, database: HasTables, now: ColumnElement[datetime] | None = None) -> Self:
        """Return the set for a database; without ``now``, one that all callers share.

        Shapes are compiled once for each set, so sharing a set saves time.
        """
        if now is None:
            key = (database.tables, database.dialect.name)
            shared: Self | None = cls._shared.get(key)
            if shared is None:
                shared = cls._shared.setdefault(key, cls(*key))
            return shared
        return cls(database.tables, database.dialect.name, now)

    def _locked_in_order(
        self,
        table: Table,
        chosen: FromClause,
        *conditions: ColumnElement[bool],
        skip_locked: bool = False,
    ) -> FromClause:
        """Lock the rows that ``chosen`` names, by their ids → the columns of ``chosen``, of those.

        The conditions join ``table`` to ``chosen``. An UPDATE locks rows in the order of its plan,
        and two that meet in different orders wait for each other. PostgreSQL locks after it has
        sorted, and ids never change. With ``skip_locked``, rows that somebody else has locked are
        left out. A database with one writer needs none of this: ``chosen`` comes back.
        """
        if not self._postgres:
            return chosen
        locked = (
            select(*chosen.c)
            .where(*conditions)
            .order_by(table.c.id)
            # The lock that an UPDATE takes: rows of users' tables may refer to ours meanwhile.
            .with_for_update(of=table, key_share=True, skip_locked=skip_locked)
            .cte("locked")
        )
        # A CTE is read row by row as the UPDATE asks for it: a row would be written, and its unique
        # key freed, before the next one is locked. Counting needs all of them first, and PostgreSQL
        # leaves the count out of what isn't MATERIALIZED, since nobody reads it.
        counted = select(*locked.c, func.count().over().label("how_many"))
        return counted.cte("all_locked").prefix_with("MATERIALIZED")

    def __init_subclass__(cls) -> None:
        cls._shared = {}
