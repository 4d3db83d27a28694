"""SQL on which dialects differ: one construct each, written once per dialect.

Everything else in this package is plain SQLAlchemy Core. ``sqlite`` stands for all of its
relatives here (libSQL, D1), so it is the default and PostgreSQL the exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Float, Select, Subquery, Text, bindparam, case, func, literal, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine, UserDefinedType

TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f"
"""What a timestamp looks like where the database has no type for it: UTC, and it sorts."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime: ``timestamptz`` on PostgreSQL, sortable text elsewhere."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(
                f"a naive datetime says no moment in time: {value!r}; give it a tzinfo"
            )
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.strftime(TIMESTAMP_FORMAT)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return cast("datetime", value).astimezone(UTC)


class _Jsonb(UserDefinedType[str]):
    """PostgreSQL's jsonb, fed with serialised text: SQLAlchemy's own type would dump it again."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSONB"


class JsonText(TypeDecorator[str]):
    """A JSON document, carried as serialised text and stored as ``jsonb`` where there is such.

    SQL NULL means that there is no document; the document ``null`` is the text ``null``.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(_Jsonb())
        return dialect.type_descriptor(Text())


class db_now(FunctionElement[datetime]):
    """The database's clock, by which leases and due times are judged.

    PostgreSQL: when the statement began, not when the transaction did. SQLite: milliseconds,
    padded to the six digits of the column's format.
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
    """``add_seconds(moment, seconds)``: a moment, later by that many seconds (fractions count)."""

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
    """``json_append(array, document, at)``: the array with the document last, stamped ``at``.

    Only the newest 20 are kept, so that a row can't grow without bound.
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
    return (
        f"json_insert(CASE WHEN json_array_length({array}) >= {element.keep}"
        f" THEN json_remove({array}, '$[0]') ELSE {array} END,"
        f" '$[#]', json_set(json({document}), '$.at', {at}))"
    )


@compiles(json_append, "postgresql")
def _json_append_postgres(element: json_append, compiler: Any, **kw: Any) -> str:
    array, document, at = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"((CASE WHEN jsonb_array_length({array}) >= {element.keep}"
        f" THEN {array} - 0 ELSE {array} END)"
        f" || jsonb_build_array(jsonb_set(CAST({document} AS jsonb), '{{at}}', to_jsonb({at}))))"
    )


class within(ColumnElement[bool]):
    """``within(column, candidates)``: the column is among the rows of a locking subquery.

    PostgreSQL may run a subquery behind ``IN`` more than once and so lock more rows than its
    LIMIT; as an array it runs exactly once.
    """

    inherit_cache = False
    type = NullType()  # Boolean would be rendered as "… = 1" on SQLite

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


class one_of(ColumnElement[bool]):
    """``one_of(column, "names")``: the column is in a list that travels as one parameter."""

    inherit_cache = False
    type = NullType()

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.name = name


@compiles(one_of)
def _one_of_sqlite(element: one_of, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(bindparam(element.name, type_=ListAsJson()), **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(one_of, "postgresql")
def _one_of_postgres(element: one_of, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(bindparam(element.name, type_=PlainArray()), **kw)
    return f"{column} = ANY(CAST({values} AS text[]))"


class ListAsJson(TypeDecorator[list[Any]]):
    """A list (of scalars, or of rows) as one JSON parameter, for ``json_each``.

    Values go through ``processors`` first (one per column of a row), as they would alone.
    """

    impl = Text
    cache_ok = False

    def __init__(self, columns: Sequence[TypeEngine[Any]] = ()) -> None:
        super().__init__()
        self.columns = tuple(columns)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        processors = [
            column.dialect_impl(dialect).bind_processor(dialect) for column in self.columns
        ]
        converted = [(i, process) for i, process in enumerate(processors) if process is not None]

        def bind(rows: Sequence[Any]) -> str:
            if not converted:
                return encode(rows)
            mutable = [list(row) for row in rows]
            for i, process in converted:
                for row in mutable:
                    row[i] = process(row[i])
            return encode(mutable)

        return bind


class PlainArray(UserDefinedType[list[Any]]):
    """A PostgreSQL array of whatever its elements are; the statement says the cast."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"


class ArrayOfColumn(PlainArray):
    """One column of a list of rows, as a PostgreSQL array: what ``unnest`` takes."""

    cache_ok = False

    def __init__(self, index: int, column: TypeEngine[Any]) -> None:
        self.index = index
        self.column = column

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        index = self.index
        process = self.column.dialect_impl(dialect).bind_processor(dialect)
        if process is None:
            return lambda rows: [row[index] for row in rows]
        return lambda rows: [process(row[index]) for row in rows]


class _RowSource(FunctionElement[Any]):
    """What the rows are read from: ``json_each`` of the parameter; nothing on PostgreSQL."""

    inherit_cache = False

    def __init__(self, name: str, columns: Sequence[TypeEngine[Any]]) -> None:
        super().__init__()
        self.param = bindparam(name, type_=ListAsJson(columns))


@compiles(_RowSource)
def _row_source_sqlite(element: _RowSource, compiler: Any, **kw: Any) -> str:
    return f"json_each({compiler.process(element.param, **kw)})"


@compiles(_RowSource, "postgresql")
def _row_source_postgres(element: _RowSource, compiler: Any, **kw: Any) -> str:
    return "(SELECT)"


class _RowValue(ColumnElement[Any]):
    """One column of the rows: an element of the JSON row, or a whole unnested array."""

    inherit_cache = False

    def __init__(self, name: str, index: int, type_: TypeEngine[Any]) -> None:
        self.type = type_
        self.index = index
        # The driver finds the rows under the name before the dot.
        self.param = bindparam(f"{name}.{index}", type_=ArrayOfColumn(index, type_))


@compiles(_RowValue)
def _row_value_sqlite(element: _RowValue, compiler: Any, **kw: Any) -> str:
    return f"json_extract(value, '$[{element.index}]')"


@compiles(_RowValue, "postgresql")
def _row_value_postgres(element: _RowValue, compiler: Any, **kw: Any) -> str:
    kw.pop("within_columns_clause", None)
    type_ = element.type.compile(dialect=compiler.dialect)
    return f"unnest(CAST({compiler.process(element.param, **kw)} AS {type_}[]))"


def rows(name: str, **columns: TypeEngine[Any]) -> Subquery:
    """A table made of the parameter ``name``, a list of tuples with these columns in order.

    However many rows there are, they travel as one JSON parameter (SQLite and relatives) or as
    one array a column (PostgreSQL): the statement's text stays the same.
    """
    source = _RowSource(name, list(columns.values())).table_valued("value", name="source")
    values = [
        _RowValue(name, index, type_).label(column)
        for index, (column, type_) in enumerate(columns.items())
    ]
    return select(*values).select_from(source).subquery(name)


class seconds_between(FunctionElement[float]):
    """``seconds_between(later, earlier)``: from one moment to another."""

    type = Float()
    inherit_cache = True


@compiles(seconds_between)
def _seconds_between_sqlite(element: seconds_between, compiler: Any, **kw: Any) -> str:
    later, earlier = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((julianday({later}) - julianday({earlier})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _seconds_between_postgres(element: seconds_between, compiler: Any, **kw: Any) -> str:
    later, earlier = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({later} - {earlier})) AS double precision)"


class is_json(FunctionElement[bool]):
    """A CHECK that a text column holds JSON; ``jsonb`` sees to it itself."""

    type = NullType()
    inherit_cache = True


@compiles(is_json)
def _is_json_sqlite(element: is_json, compiler: Any, **kw: Any) -> str:
    (column,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} IS NULL OR json_valid({column}))"


class is_timestamp(FunctionElement[bool]):
    """A CHECK that a text column holds a timestamp of our format (its fraction may be missing)."""

    type = NullType()
    inherit_cache = True


@compiles(is_timestamp)
def _is_timestamp_sqlite(element: is_timestamp, compiler: Any, **kw: Any) -> str:
    (column,) = (compiler.process(clause, **kw) for clause in element.clauses)
    digits = "[0-9]"
    day = f"{digits * 4}-{digits * 2}-{digits * 2}"
    time = f"{digits * 2}:{digits * 2}:{digits * 2}"
    return (
        f"({column} IS NULL OR ({column} GLOB '{day} {time}*' AND julianday({column}) IS NOT NULL"
        f" AND rtrim(substr({column}, 20), '0123456789') IN ('', '.')))"
    )


def notifying(insert: Any, channel: str) -> Select[Any]:
    """An INSERT of jobs that wakes listeners with the queues of what is due (PostgreSQL).

    One statement, so that the news travels with the commit, the caller's own included.
    """
    inserted = insert.cte("inserted")
    news = case((inserted.c.ready, func.pg_notify(literal(channel), inserted.c.queue)))
    return select(inserted.c.id, news).select_from(inserted)


__all__ = [
    "TIMESTAMP_FORMAT",
    "JsonText",
    "UtcDateTime",
    "add_seconds",
    "db_now",
    "is_json",
    "is_timestamp",
    "json_append",
    "notifying",
    "one_of",
    "rows",
    "seconds_between",
    "within",
]
