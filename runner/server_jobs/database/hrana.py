"""Reaches libSQL and Turso by Hrana over HTTP, by the same driver on servers and at the edge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.sql.selectable import SelectBase

from server_jobs.database import hrana_protocol as protocol
from server_jobs.database.base import Capabilities, NothingRanError, shown_url
from server_jobs.database.compiled import (
    CompiledStatement,
    StatementCompiler,
    naming_by_bytes,
    text_of,
)
from server_jobs.database.hrana_protocol import JsonObject, UnreadableTextError
from server_jobs.errors import DatabaseUnavailableError, InvalidDatabaseUrlError, StoreError
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables

OPTIONS = frozenset({"answer_timeout", "authToken", "tls"})

CAPABILITIES = Capabilities(max_statement_bytes=4 * 1024 * 1024)
ANSWER_TIMEOUT_SECONDS = 30.0
"""How long a server may be silent before a call fails."""
POLL_SECONDS = 1.0

T = TypeVar("T")

# These belong to the module: at the edge each invocation makes a database of its own, which would
# compile every statement again.
_DIALECT = SQLiteDialect(paramstyle="qmark")
_COMPILER = StatementCompiler(_DIALECT)

_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.05


class Transport(Protocol):
    """Sends requests to the server: by httpx on servers, by ``fetch`` at the edge."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: str) -> tuple[int, str]:
        """Send one request → the answer's HTTP status and its text.

        Raises NothingRanError if nothing was sent, and DatabaseUnavailableError if nobody knows
        whether the server received it.
        """

    async def close(self) -> None:
        """Wait for requests that are under way, then close connections. The next use opens them."""


class HranaDatabase:
    """The ``Database`` of a libSQL server.

    ``url`` is ``libsql://host`` (TLS, unless it has ``?tls=0``), ``https://…`` or ``http://…``,
    with a path if the server has several databases. ``?authToken=`` in the URL takes precedence
    over ``token``. Each call is one request. It is sent again only if it can't have run: the server
    wasn't reached, or it said that the database is busy.

    Raises InvalidDatabaseUrlError.
    """

    def __init__(
        self,
        url: URL,
        *,
        transport: Transport,
        tables: Tables,
        token: str | None = None,
        capabilities: Capabilities = CAPABILITIES,
    ) -> None:
        self._address = _address(url)
        self._where = shown_url(url)
        self._headers = {"content-type": "application/json"} | _authorization(url, token)
        self._transport = transport
        self.dialect: Dialect = _DIALECT
        self.tables = tables
        self.capabilities = capabilities
        self._reads_bytes = False
        """Whether texts are read as bytes, since there was one that isn't UTF-8."""
        self.queries = 0
        """How many requests were sent, failed ones included; the platform limits a Worker's."""

    def __repr__(self) -> str:
        return f"HranaDatabase({self._where})"

    async def execute(self, statement: Statement) -> list[Row]:
        compiled, parameters = _COMPILER.bind(statement)
        as_bytes = self._reads_bytes  # another call may set it while this one is under way
        try:
            request = protocol.execute(*_sent(compiled, parameters, as_bytes))
            rows = await self._call(request, protocol.rows)
        except UnreadableTextError:
            self._reads_bytes = True
            if as_bytes or not isinstance(statement.shape, SelectBase):
                raise
            return await self.execute(statement)
        return compiled.decode(_received(rows, as_bytes))

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if not statements:
            return []
        if len(statements) == 1:
            return [await self.execute(statements[0])]
        bound = [_COMPILER.bind(statement) for statement in statements]
        as_bytes = self._reads_bytes
        request = protocol.batch([_sent(*each, as_bytes) for each in bound])
        try:
            answers = await self._call(
                request, lambda answer: protocol.rows_of_batch(answer, len(bound))
            )
        except UnreadableTextError:
            self._reads_bytes = True
            if as_bytes:
                raise
            return await self.batch(statements)  # nothing was committed
        return [
            compiled.decode(_received(rows, as_bytes))
            for (compiled, _), rows in zip(bound, answers, strict=True)
        ]

    async def script(self, sql: str) -> None:
        """Run statements that are separated by semicolons in one transaction, all or none."""
        await self._call(protocol.script(f"BEGIN IMMEDIATE;\n{sql}\nCOMMIT;"), bool)

    async def wait_for_change(self, timeout: float) -> None:
        # The server doesn't announce changes, and a look costs a request: just wait.
        await asyncio.sleep(min(timeout, POLL_SECONDS))

    async def close(self) -> None:
        await self._transport.close()

    async def _call(self, request: JsonObject, read: Callable[[JsonObject], T]) -> T:
        """Send one request, again if it can't have run, and read its answer."""
        body = protocol.pipeline(request)
        for tries in range(1, _TRIES + 1):
            try:
                return _read(await self._once(body), read)
            except NothingRanError as error:
                if tries == _TRIES:
                    raise self._named(error) from error
            except StoreError as error:
                raise self._named(error) from error
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**tries * random.uniform(0.5, 1))
        raise AssertionError("unreachable")

    async def _once(self, body: str) -> JsonObject:
        self.queries += 1
        status, text = await self._transport.post(self._address, headers=self._headers, body=body)
        return protocol.result(status, text)

    def _named(self, error: StoreError) -> StoreError:
        return type(error)(f"{self._where}: {error}")


def _read(answer: JsonObject, read: Callable[[JsonObject], T]) -> T:
    try:
        return read(answer)
    except (LookupError, TypeError, ValueError) as error:
        raise DatabaseUnavailableError(
            f"the server's answer can't be read ({type(error).__name__}: {error}); the statements"
            " may have run"
        ) from error


def _reading_bytes(compiled: CompiledStatement) -> str:
    """Return a statement's SQL with texts as bytes, which a server can always send."""
    names = [f"c{index}" for index in range(compiled.width)]
    head, returning, columns = compiled.sql.rpartition(" RETURNING ")
    if returning:
        return f"{head}{returning}{', '.join(map(_as_bytes, columns.split(', ')))}"
    if not names:
        return compiled.sql
    values = ", ".join(map(_as_bytes, names))
    answer = f"answer({', '.join(names)}) AS ({compiled.sql})"
    return f"WITH {answer} SELECT {values} FROM answer"  # noqa: S608 - compiled


def _as_bytes(column: str) -> str:
    # The first byte tells texts from BLOBs.
    marked = (f"WHEN '{kind}' THEN CAST('{kind[0]}' || {column} AS BLOB)" for kind in _MARKED)
    return f"CASE typeof({column}) {' '.join(marked)} ELSE {column} END"


_MARKED = ("text", "blob")


def _sent(
    compiled: CompiledStatement, parameters: list[Any], as_bytes: bool
) -> tuple[str, Sequence[Any]]:
    """Return the SQL and the parameters that are sent for a statement."""
    if not as_bytes:
        return compiled.sql, parameters
    return naming_by_bytes(_reading_bytes(compiled), parameters)


def _received(rows: list[list[Any]], as_bytes: bool) -> list[list[Any]]:
    return [[_unmarked(value) for value in row] for row in rows] if as_bytes else rows


def _unmarked(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    return text_of(value[1:]) if value[:1] == b"t" else value[1:]


def _address(url: URL) -> str:
    """Find the address that requests are sent to. Raises InvalidDatabaseUrlError."""
    unknown = sorted(set(url.query) - OPTIONS)
    if unknown:
        raise InvalidDatabaseUrlError(
            f"libSQL URLs have no option {unknown[0]!r}; there are {', '.join(sorted(OPTIONS))}"
        )
    if not url.host:
        raise InvalidDatabaseUrlError(
            "the libSQL URL names no host; it looks like libsql://my-database.turso.io"
        )
    if url.username or url.password:
        raise InvalidDatabaseUrlError(
            "libSQL takes a token instead of a user and a password: set SERVER_JOBS_DATABASE_TOKEN"
        )
    scheme = url.get_backend_name()
    if "tls" in url.query and (scheme != "libsql" or url.query["tls"] not in {"0", "1"}):
        raise InvalidDatabaseUrlError("tls=0 and tls=1 are options of libsql:// URLs only")
    if scheme == "libsql":
        scheme = "http" if url.query.get("tls") == "0" else "https"
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = f":{url.port}" if url.port else ""
    path = f"/{url.database.rstrip('/')}" if url.database else ""
    return f"{scheme}://{host}{port}{path}{protocol.PATH}"


def _authorization(url: URL, token: str | None) -> dict[str, str]:
    # A token in the URL belongs to its address. The other one may be another database's.
    of_url = url.query.get("authToken")
    token = (of_url if isinstance(of_url, str) else token or "").strip()
    if not token:
        return {}
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidDatabaseUrlError(
            "the database's token has characters that tokens can't have: set it to printable ASCII"
            " without spaces"
        )
    return {"authorization": f"Bearer {token}"}
