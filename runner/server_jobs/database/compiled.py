"""Compiles SQLAlchemy Core for drivers: the SQL text, the parameters in order, the rows' decoding.

Compiling a statement takes a hundred times as long as running it, so each shape is compiled once
per dialect. Only SQLAlchemy's public API is used; no engine and no result objects are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import BindParameter
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.ddl import ExecutableDDLElement
from sqlalchemy.types import TypeEngine

from server_jobs.records.text import message_of, shown
from server_jobs.sql.statement import RawText, Row, Statement, Unreadable

_Convert: TypeAlias = Callable[[Any], Any]


class CompiledStatement:
    """Holds one shape, compiled for one dialect."""

    __slots__ = ("_decoders", "_parameters", "sql", "width")

    def __init__(self, shape: Executable, dialect: Dialect) -> None:
        self._parameters: list[Callable[[Mapping[str, Any]], Any]] = []
        if isinstance(shape, ExecutableDDLElement):
            compiled = shape.compile(dialect=dialect)
        else:
            compiled = shape.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
        self.sql = str(compiled)
        if isinstance(compiled, SQLCompiler):
            self._parameters = [
                _parameter(compiled.binds[name], dialect) for name in compiled.positiontup or ()
            ]
        columns: Iterable[Any] = getattr(shape, "exported_columns", ())
        columns = list(columns)
        self.width = len(columns)
        """How many columns it returns, as far as that is known."""
        decoders = [_converter(column.type, dialect, "result") for column in columns]
        self._decoders = [(i, decode) for i, decode in enumerate(decoders) if decode is not None]

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Convert the values to the driver's parameters, in the order of the SQL text."""
        return [parameter(values) for parameter in self._parameters]

    def decode(self, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Convert the driver's rows → rows of Python values.

        A value that can't be converted becomes an :class:`Unreadable` and spoils no other. The
        statement may have been committed by now, so that nobody could ask for its rows again.
        """
        if not self._decoders:
            return [tuple(row) for row in rows]
        decoded = []
        for row in rows:
            values = list(row)
            try:
                for index, decode in self._decoders:
                    if values[index] is not None:
                        values[index] = decode(values[index])
            except Exception:  # noqa: BLE001 - whatever the value is, it spoils only itself
                values = self._decoded_one_by_one(row)
            decoded.append(tuple(values))
        return decoded

    def _decoded_one_by_one(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for index, decode in self._decoders:
            if values[index] is not None:
                try:
                    values[index] = decode(values[index])
                except Exception as error:  # noqa: BLE001 - told by whoever needs the value
                    values[index] = Unreadable(shown(values[index]), message_of(error))
        return values


class StatementCompiler:
    """Compiles shapes for one dialect, and caches the results.

    The cache compares shapes by identity. Shapes of ``store.statements`` live as long as the
    process. Shapes that a filter builds are used once, and fall out of the cache.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._compile = lru_cache(maxsize=256)(lambda shape: CompiledStatement(shape, dialect))

    def __call__(self, shape: Executable) -> CompiledStatement:
        return self._compile(shape)

    def bind(self, statement: Statement) -> tuple[CompiledStatement, list[Any]]:
        """Compile a statement → its compiled shape and its parameters."""
        compiled = self._compile(statement.shape)
        return compiled, compiled.parameters(statement.values)


def text_of(raw: bytes) -> str:
    """Return text by its bytes, also where they aren't UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawText.of(raw)


def naming_by_bytes(sql: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """Give the texts of a statement as bytes, of which SQLite makes texts again.

    So a row can be named by a text that isn't UTF-8 (see RawText), which no driver takes as text.
    """
    texts = iter([isinstance(value, str) for value in parameters])
    # Our statements have no question mark but for parameters.
    sql = re.sub(r"\?", lambda _: "CAST(? AS TEXT)" if next(texts) else "?", sql)
    return sql, [
        value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        for value in parameters
    ]


def _parameter(bind: BindParameter[Any], dialect: Dialect) -> Callable[[Mapping[str, Any]], Any]:
    """Build the function that finds one parameter among the values and converts it."""
    name = bind.key.partition(".")[0]  # "rows.2" is a column of "rows": rowset.rows()
    convert = _converter(bind.type, dialect, "bind")
    if not bind.required:
        # The shape has a value for it: a literal, or a callable that reads a clock.
        if convert is None:
            return lambda values: _given(values, name, bind)
        return lambda values: convert(_given(values, name, bind))
    if convert is None:
        return itemgetter(name)
    return lambda values: convert(values[name])


def _given(values: Mapping[str, Any], name: str, bind: BindParameter[Any]) -> Any:
    # effective_value may read a clock, so it is used only if no value is given.
    return values[name] if name in values else bind.effective_value  # noqa: SIM401


def _converter(type_: TypeEngine[Any], dialect: Dialect, direction: str) -> _Convert | None:
    implementation = type_.dialect_impl(dialect)
    if direction == "bind":
        return implementation.bind_processor(dialect)
    return implementation.result_processor(dialect, None)
