"""Passes many values in one parameter: rows to join with, and lists to look in.

The statement's text is the same for any number of values. So it is compiled and planned once, and
no limit on the number of parameters applies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Subquery, Text, bindparam, select
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine, UserDefinedType


class one_of(ColumnElement[Any]):
    """``one_of(column, "names")`` is true if the column is in the list parameter ``names``."""

    inherit_cache = False
    type: TypeEngine[Any] = NullType()  # Boolean is rendered as "… = 1" on SQLite

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.name = name


@compiles(one_of)
def _one_of_sqlite(element: one_of, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(bindparam(element.name, type_=ListAsJson()), **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both compiled


@compiles(one_of, "postgresql")
def _one_of_postgres(element: one_of, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(bindparam(element.name, type_=PlainArray()), **kw)
    return f"{column} = ANY(CAST({values} AS text[]))"


class ListAsJson(TypeDecorator[list[Any]]):
    """Passes a list of scalars or of rows as one JSON parameter, for ``json_each``.

    ``columns`` are the types of a row's columns: each value is converted by the type of its column.
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
    """Passes a PostgreSQL array; the statement casts it to the type of its elements."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"


class ArrayOfColumn(PlainArray):
    """Passes one column of a list of rows as a PostgreSQL array, for ``unnest``."""

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
    """The FROM clause of the rows: ``json_each`` of the parameter, or nothing on PostgreSQL."""

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
    """One column of the rows: an element of the JSON row, or on PostgreSQL an unnested array."""

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
    """Make a table of the parameter ``name``, a list of tuples with these columns in order.

    All rows travel as one JSON parameter on SQLite and its relatives, and as one array for each
    column on PostgreSQL. The statement's text is the same for any number of rows.
    """
    source = _RowSource(name, list(columns.values())).table_valued("value", name="source")
    values = [
        _RowValue(name, index, type_).label(column)
        for index, (column, type_) in enumerate(columns.items())
    ]
    return select(*values).select_from(source).subquery(name)
