"""Defines one construct for each piece of SQL that dialects spell differently.

All other SQL in this package is plain SQLAlchemy Core. SQLite's spelling is the default here, since
libSQL and D1 share it; PostgreSQL's is registered by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, Integer, Select, Table, case, func, literal, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from server_jobs.sql.column_types import JsonText, UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


class db_now(FunctionElement[datetime]):
    """Reads the database's clock, by which leases and due times are judged.

    On PostgreSQL it is the moment at which the statement began, not the transaction. On SQLite it
    has milliseconds, padded to the six digits of the column's format.
    """

    type = UtcDateTime()
    inherit_cache = True


@compiles(db_now)
def _now_sqlite(element: db_now, compiler: Any, **_: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000','now')"


@compiles(db_now, "postgresql")
def _now_postgres(element: db_now, compiler: Any, **_: Any) -> str:
    return "statement_timestamp()"


class add_seconds(FunctionElement[datetime]):
    """``add_seconds(moment, seconds)`` is the moment that many seconds later; fractions count."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, moment: ColumnElement[datetime], seconds: ColumnElement[float]) -> None:
        super().__init__(moment, seconds)


@compiles(add_seconds)
def _add_seconds_sqlite(element: add_seconds, compiler: Any, **kw: Any) -> str:
    moment, seconds = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"strftime('%Y-%m-%d %H:%M:%f000', {moment}, printf('%+.3f seconds', {seconds}))"


@compiles(add_seconds, "postgresql")
def _add_seconds_postgres(element: add_seconds, compiler: Any, **kw: Any) -> str:
    moment, seconds = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({moment} + make_interval(secs => CAST({seconds} AS double precision)))"


class json_append(FunctionElement[str]):
    """``json_append(array, document, at)`` appends the document, with ``at`` as its time.

    The array keeps only its newest 20 documents, so that a row can't grow without bound. One that
    is longer was written by another program and begins anew: to cut it would take too long.
    """

    type = JsonText()
    inherit_cache = True
    keep = 20

    def __init__(
        self,
        array: ColumnElement[str],
        document: ColumnElement[str],
        at: ColumnElement[datetime],
    ) -> None:
        super().__init__(array, document, at)


@compiles(json_append)
def _json_append_sqlite(element: json_append, compiler: Any, **kw: Any) -> str:
    array, document, at = (compiler.process(clause, **kw) for clause in element.clauses)
    # Appends at the index after the last one. '$[#]' means the same, but crashes Turso's new
    # database.
    length = f"json_array_length({array})"
    return (
        f"json_insert(CASE WHEN {length} > {element.keep} THEN '[]'"
        f" WHEN {length} = {element.keep} THEN json_remove({array}, '$[0]') ELSE {array} END,"
        f" '$[' || CASE WHEN {length} > {element.keep} THEN 0"
        f" ELSE min({length}, {element.keep - 1}) END || ']',"
        f" json_set(json({document}), '$.at', {at}))"
    )


@compiles(json_append, "postgresql")
def _json_append_postgres(element: json_append, compiler: Any, **kw: Any) -> str:
    array, document, at = (compiler.process(clause, **kw) for clause in element.clauses)
    length = f"jsonb_array_length({array})"
    return (
        f"((CASE WHEN {length} > {element.keep} THEN CAST('[]' AS jsonb)"
        f" WHEN {length} = {element.keep} THEN {array} - 0 ELSE {array} END)"
        f" || jsonb_build_array(jsonb_set(CAST({document} AS jsonb), '{{at}}', to_jsonb({at}))))"
    )


class count_errors(FunctionElement[int]):
    """``count_errors(errors, type)`` counts the documents of the array that have that type.

    Only an array that isn't longer than :class:`json_append` makes it is looked into.
    """

    type = Integer()
    inherit_cache = True

    def __init__(self, errors: ColumnElement[str], kind: str) -> None:
        super().__init__(errors, literal_column(f"'{kind}'"))


@compiles(count_errors)
def _count_errors_sqlite(element: count_errors, compiler: Any, **kw: Any) -> str:
    errors, kind = (compiler.process(clause, **kw) for clause in element.clauses)
    length = f"json_array_length({errors})"
    ours = f"CASE WHEN {length} <= {json_append.keep} THEN {errors} ELSE '[]' END"
    return (
        f"(SELECT count(*) FROM json_each({ours}) AS one"  # noqa: S608 - both compiled
        f" WHERE json_extract({errors}, one.fullkey || '.type') = {kind})"
    )


@compiles(count_errors, "postgresql")
def _count_errors_postgres(element: count_errors, compiler: Any, **kw: Any) -> str:
    errors, kind = (compiler.process(clause, **kw) for clause in element.clauses)
    ours = (
        f"CASE WHEN jsonb_typeof({errors}) <> 'array' THEN CAST('[]' AS jsonb)"
        f" WHEN jsonb_array_length({errors}) <= {json_append.keep} THEN {errors}"
        " ELSE CAST('[]' AS jsonb) END"
    )
    return (
        f"(SELECT count(*) FROM jsonb_array_elements({ours}) AS one"  # noqa: S608 - compiled
        f" WHERE one ->> 'type' = {kind})"
    )


class within(ColumnElement[Any]):
    """``within(column, candidates)`` is true if the column is among a locking subquery's rows.

    PostgreSQL may run a subquery behind ``IN`` more than once, and then lock more rows than its
    LIMIT. As an array it runs exactly once.
    """

    inherit_cache = False
    type: TypeEngine[Any] = NullType()  # Boolean is rendered as "… = 1" on SQLite

    def __init__(self, column: ColumnElement[str], candidates: Select[tuple[str]]) -> None:
        self.column = column
        self.candidates = candidates


@compiles(within)
def _within_sqlite(element: within, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    return f"{column} IN ({compiler.process(element.candidates, **kw)})"


@compiles(within, "postgresql")
def _within_postgres(element: within, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    return f"{column} = ANY(ARRAY({compiler.process(element.candidates, **kw)}))"


class seconds_between(FunctionElement[float]):
    """``seconds_between(later, earlier)`` is the number of seconds from one moment to the other.

    It is NULL where one of them is infinite, as moments of PostgreSQL can be.
    """

    type = Float()
    inherit_cache = True


@compiles(seconds_between)
def _seconds_between_sqlite(element: seconds_between, compiler: Any, **kw: Any) -> str:
    later, earlier = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((julianday({later}) - julianday({earlier})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _seconds_between_postgres(element: seconds_between, compiler: Any, **kw: Any) -> str:
    later, earlier = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"CASE WHEN isfinite({later}) AND isfinite({earlier}) THEN"
        f" CAST(EXTRACT(EPOCH FROM ({later} - {earlier})) AS double precision) END"
    )


class same_second(ColumnElement[Any]):
    """``same_second(a, b)`` is true if two moments are equal, on SQLite to the second.

    SQLite stores moments as text, and one that a person wrote may have no fraction. On PostgreSQL,
    a moment that Python has no datetime for equals the one that it is read as.
    """

    inherit_cache = False
    type: TypeEngine[Any] = NullType()  # Boolean is rendered as "… = 1" on SQLite

    def __init__(self, one: ColumnElement[datetime], other: ColumnElement[datetime]) -> None:
        self.one = one
        self.other = other


@compiles(same_second)
def _same_second_sqlite(element: same_second, compiler: Any, **kw: Any) -> str:
    one, other = (compiler.process(clause, **kw) for clause in (element.one, element.other))
    return f"substr({one}, 1, 19) = substr({other}, 1, 19)"


@compiles(same_second, "postgresql")
def _same_second_postgres(element: same_second, compiler: Any, **kw: Any) -> str:
    one, other = (compiler.process(clause, **kw) for clause in (element.one, element.other))
    return (
        f"CASE WHEN {one} < '0001-01-01 00:00:00+00' THEN '0001-01-01 00:00:00+00'"
        f" WHEN {one} >= '10000-01-01 00:00:00+00' THEN '9999-12-31 00:00:00+00'"
        f" ELSE {one} END = {other}"
    )


class is_json(FunctionElement[Any]):
    """Checks that a text column holds JSON. ``jsonb`` columns need no such CHECK."""

    type: TypeEngine[Any] = NullType()
    inherit_cache = True


@compiles(is_json)
def _is_json_sqlite(element: is_json, compiler: Any, **kw: Any) -> str:
    (column,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} IS NULL OR json_valid({column}))"


class is_json_array(FunctionElement[Any]):
    """Checks that a column holds a JSON array."""

    type: TypeEngine[Any] = NullType()
    inherit_cache = True


@compiles(is_json_array)
def _is_json_array_sqlite(element: is_json_array, compiler: Any, **kw: Any) -> str:
    (column,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(json_valid({column}) AND json_type({column}) = 'array')"


@compiles(is_json_array, "postgresql")
def _is_json_array_postgres(element: is_json_array, compiler: Any, **kw: Any) -> str:
    (column,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(jsonb_typeof({column}) = 'array')"


class is_timestamp(FunctionElement[Any]):
    """Checks that a text column holds a timestamp of our format; its fraction may be missing."""

    type: TypeEngine[Any] = NullType()
    inherit_cache = True


@compiles(is_timestamp)
def _is_timestamp_sqlite(element: is_timestamp, compiler: Any, **kw: Any) -> str:
    (column,) = (compiler.process(clause, **kw) for clause in element.clauses)
    # SQLite must write back the same text: no February 30th, no hour 24, no other format.
    # IS instead of =, since a CHECK accepts NULL. SQLite has a year 0, Python has none.
    return (
        f"({column} IS NULL OR (datetime(substr({column}, 1, 19), '+0 days')"
        f" IS substr({column}, 1, 19) AND {column} >= '0001'"
        f" AND (length({column}) = 19 OR (substr({column}, 20) GLOB '.[0-9]*'"
        f" AND rtrim(substr({column}, 21), '0123456789') = ''))))"
    )


def insert_or_ignore(
    table: Table, columns: Sequence[str], source: Select[Any], *, postgres: bool
) -> postgresql.Insert | sqlite.Insert:
    """Build INSERT … SELECT … ON CONFLICT DO NOTHING.

    ``source`` must have a WHERE, since SQLite's grammar needs one there.
    """
    # Only the dialects' own INSERTs have ON CONFLICT. Only the one that is needed is imported.
    insert: postgresql.Insert | sqlite.Insert
    if postgres:
        from sqlalchemy.dialects import postgresql

        insert = postgresql.insert(table)
    else:
        from sqlalchemy.dialects import sqlite

        insert = sqlite.insert(table)
    return insert.from_select(list(columns), source).on_conflict_do_nothing()


def notifying(insert: ReturningInsert[Any], channel: str) -> Select[Any]:
    """Make an INSERT of jobs also notify the channel of the queues of due jobs (PostgreSQL).

    It is one statement, so that listeners hear of it when the transaction commits, even if that is
    the caller's own.
    """
    inserted = insert.cte("inserted")
    news = case((inserted.c.ready, func.pg_notify(literal(channel), inserted.c.queue)))
    return select(inserted.c.id, news).select_from(inserted)
