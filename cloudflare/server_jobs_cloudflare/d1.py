"""The driver of D1, which a Worker reaches through a binding."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import Float, Integer, LargeBinary

from server_jobs.database.base import Capabilities
from server_jobs.database.compiled import CompiledStatement, StatementCompiler
from server_jobs.database.remote_errors import error_of
from server_jobs.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    MigrationRequiredError,
)
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables
from server_jobs.sql.tables import tables as usual_tables
from server_jobs_cloudflare.under_way import UnderWay

MAX_INTEGER = 2**53 - 1
"""The largest integer that JavaScript's numbers keep exactly. D1 passes all numbers as such."""
MAX_PARAMETERS = 100
MAX_SQL_BYTES = 100_000
MAX_VALUE_BYTES = 2_000_000
"""The largest text, blob and row that D1 stores."""

CAPABILITIES = Capabilities(
    max_statement_bytes=MAX_VALUE_BYTES,
    # Params, result and the last errors are in one row.
    max_payload_bytes=512 * 1024,
    max_integer=MAX_INTEGER,
)

CONNECTIONS = 2
"""How many requests may be under way: two of the platform's six, so that handlers have four."""

POLL_SECONDS = 1.0

_UNAVAILABLE = ("reset", "overloaded", "exceeded", "timed out", "network connection lost")
_REFUSED = ("d1_type_error",)


class D1Database:
    """A ``Database`` on a binding, which may be wrapped by the vendor's SDK.

    ``queries`` counts the statements that were sent; the platform allows an invocation 1,000.
    """

    def __init__(
        self,
        binding: Any,
        *,
        tables: Tables | None = None,
        capabilities: Capabilities = CAPABILITIES,
    ) -> None:
        # Without the SDK's wrapper, which converts value by value. Here rows are converted in bulk.
        self._binding = getattr(binding, "_binding", binding)
        self.dialect: Dialect = _DIALECT
        self.tables = tables or usual_tables()
        self.capabilities = capabilities
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._under_way = UnderWay()
        self.queries = 0

    def __repr__(self) -> str:
        return "D1Database()"

    async def execute(self, statement: Statement) -> list[Row]:
        (rows,) = await self.batch([statement])
        return rows

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if not statements:
            return []
        # All are prepared before any is sent, so that a value which is refused leaves no trace.
        prepared = [self._bound(statement) for statement in statements]
        return await self._under_way.to_its_end(self._send(statements, prepared))

    async def wait_for_change(self, timeout: float) -> None:
        # D1 announces no changes, and to look for them costs queries: let time pass.
        await asyncio.sleep(min(timeout, POLL_SECONDS))

    async def close(self) -> None:
        # There is nothing to close, but requests that are under way.
        await self._under_way.end()

    async def _send(
        self,
        statements: Sequence[Statement],
        prepared: Sequence[tuple[CompiledStatement, Any]],
    ) -> list[list[Row]]:
        from pyodide.ffi import JsException, to_js

        async with self._connections:
            self.queries += len(prepared)
            try:
                if len(prepared) == 1:
                    answers = [await prepared[0][1].all()]
                else:
                    answers = await self._binding.batch(to_js([each for _, each in prepared]))
            except JsException as error:
                raise _translated(error) from error
        return [
            compiled.decode(self._rows(statement.shape, answer.results))
            for statement, (compiled, _), answer in zip(statements, prepared, answers, strict=True)
        ]

    def _bound(self, statement: Statement) -> tuple[CompiledStatement, Any]:
        from pyodide.ffi import JsException

        compiled, parameters = _COMPILER.bind(statement)
        if len(parameters) > MAX_PARAMETERS or len(compiled.sql.encode()) > MAX_SQL_BYTES:
            raise DataRefusedError(
                f"D1 takes {MAX_PARAMETERS} parameters and {MAX_SQL_BYTES} bytes of SQL, not"
                f" {len(parameters)} and {len(compiled.sql.encode())}"
            )
        values = [_to_javascript(each) for each in parameters]
        try:
            prepared = self._binding.prepare(compiled.sql)
            return compiled, prepared.bind(*values) if values else prepared
        except JsException as error:
            raise _translated(error) from error

    def _rows(self, shape: Executable, results: Any) -> list[Row]:
        """Objects by column name → rows. As one JSON text, they leave JavaScript all at once."""
        from js import JSON

        rows = [tuple(row.values()) for row in json.loads(JSON.stringify(results))]
        width = _width(shape)
        if rows and width and len(rows[0]) != width:
            raise DatabaseError(f"D1: two of {width} columns have the same name")
        return rows


class _D1Integer(Integer):
    """Refuses integers that would change on their way to D1 or back."""

    def bind_processor(self, dialect: Dialect) -> Any:
        return _checked

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _exact


class _D1Float(Float[float]):
    """Makes floats of integers, since JavaScript writes 1.0 as 1."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return float


class _D1Binary(LargeBinary):
    """Makes ``bytes`` of lists of numbers, as which D1 returns blobs."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return bytes


class _D1Dialect(SQLiteDialect):
    """SQLite's dialect, with values that pass through JavaScript."""

    supports_statement_cache = True
    colspecs = {  # noqa: RUF012 - an attribute of SQLAlchemy's
        **SQLiteDialect.colspecs,
        Integer: _D1Integer,
        Float: _D1Float,
        LargeBinary: _D1Binary,
    }


# One for all databases: each invocation makes a new database, which would compile every statement
# anew.
_DIALECT = _D1Dialect(paramstyle="qmark")
_COMPILER = StatementCompiler(_DIALECT)


@lru_cache(maxsize=256)
def _width(shape: Executable) -> int:
    return len(getattr(shape, "exported_columns", ()))


def _checked(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise DataRefusedError(f"D1 keeps integers up to 2^53 - 1 exactly; {value} is beyond that")
    return value


def _exact(value: Any) -> int:
    if abs(value) > MAX_INTEGER:
        raise DatabaseError(
            f"D1 answered about {value}, an integer beyond 2^53 - 1, which it can't return exactly"
        )
    return int(value)


def _to_javascript(value: Any) -> Any:
    from pyodide.ffi import jsnull, to_js

    match value:
        case None:
            return jsnull
        case bool():
            return value
        case float():
            if not math.isfinite(value):
                raise DataRefusedError(f"D1 takes no {value}: JSON can't express it")
            return value
        case int():
            # Pyodide would make a BigInt of a large integer, which D1 doesn't take.
            return float(_checked(value))
        case str():
            return _text(value)
        case bytes() | bytearray() | memoryview():
            _refuse_large(len(value))
            return to_js(bytes(value))
        case _:
            raise DataRefusedError(f"D1 has no type for a {type(value).__name__}")


def _text(value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise DataRefusedError(f"D1: {error}") from error
    _refuse_large(size)
    return value


def _refuse_large(size: int) -> None:
    if size > MAX_VALUE_BYTES:
        raise DataRefusedError(f"D1 takes values of {MAX_VALUE_BYTES} bytes, not of {size}")


def _translated(error: Exception) -> DatabaseError | MigrationRequiredError:
    text = str(error)
    return error_of(
        text,
        migrate="apply the migrations (server-jobs migrate writes them, wrangler d1 migrations"
        " apply runs them)",
        refused=_REFUSED,
        unavailable=_UNAVAILABLE,
        # Errors of SQLite itself are named so, and nothing was committed. Any other error may come
        # after a commit, so that the caller has to look it up.
        otherwise=DatabaseError if "SQLITE_" in text else DatabaseUnavailableError,
    )
