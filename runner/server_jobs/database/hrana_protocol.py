"""Writes the requests of Hrana over HTTP, and reads its answers.

Every call is one ``POST /v2/pipeline`` whose last request closes the stream. So nothing stays open
on the server, and a transaction that wasn't committed within the request never is.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from server_jobs.database.remote_errors import error_of
from server_jobs.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    MigrationRequiredError,
)

JsonObject: TypeAlias = dict[str, Any]

PATH = "/v2/pipeline"

_BUSY = ("sqlite_busy", "sqlite_locked", "database is locked", "database is busy")
_UNAVAILABLE = (
    "transaction_timeout",
    "stream_expired",
    "proxy_error",
    "server_shutting_down",
    "blocked",
    "timed out",
)


class NothingRanError(DatabaseUnavailableError):
    """The statements can't have run, so they may be sent again."""


class UnreadableTextError(DatabaseUnavailableError):
    """The server doesn't answer with a text that isn't UTF-8. Reading its bytes helps."""


def execute(sql: str, parameters: Sequence[Any]) -> JsonObject:
    """Write the request for one statement, which commits by itself."""
    return {"type": "execute", "stmt": _statement(sql, parameters)}


def batch(statements: Sequence[tuple[str, Sequence[Any]]]) -> JsonObject:
    """Write the request for a transaction: each statement runs if the one before it succeeded.

    A last step rolls the transaction back if it wasn't committed.
    """
    steps: list[JsonObject] = [{"stmt": _statement("BEGIN IMMEDIATE", ())}]
    for sql, parameters in [*statements, ("COMMIT", ())]:
        steps.append({"stmt": _statement(sql, parameters), "condition": _ok(len(steps) - 1)})
    committed = _ok(len(steps) - 1)
    unfinished = {"type": "and", "conds": [_ok(0), {"type": "not", "cond": committed}]}
    steps.append({"stmt": _statement("ROLLBACK", ()), "condition": unfinished})
    return {"type": "batch", "batch": {"steps": steps}}


def script(sql: str) -> JsonObject:
    """Write the request for statements separated by semicolons; the first failure ends them."""
    return {"type": "sequence", "sql": sql}


def pipeline(request: JsonObject) -> str:
    """Write the body of a call as JSON. Raises DataRefusedError for text that has no UTF-8."""
    body = json.dumps(
        {"baton": None, "requests": [request, {"type": "close"}]},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    try:
        body.encode()
    except UnicodeEncodeError as error:
        raise DataRefusedError(f"libSQL: {error}") from error
    return body


def result(status: int, text: str) -> JsonObject:
    """Read the server's answer to the first request of a pipeline.

    ``status`` is HTTP's, ``text`` the body. Raises NothingRanError, DatabaseUnavailableError,
    DataRefusedError, DatabaseError and MigrationRequiredError.
    """
    if status != 200:
        raise _http_error(status, text)
    try:
        answer = json.loads(text)["results"][0]
        kind = answer["type"]
        if kind == "ok":
            response: JsonObject = answer["response"]
            return response.get("result") or {}
        refused = answer["error"]
    except (ValueError, LookupError, TypeError) as error:
        raise DatabaseError(
            "the server doesn't speak Hrana, libSQL's protocol: check the URL"
        ) from error
    raise _refused(refused)


def rows(answer: JsonObject) -> list[list[Any]]:
    """Read the rows of one statement.

    Raises LookupError, TypeError or ValueError if the answer has another form.
    """
    return [[_decode(value) for value in row] for row in answer["rows"]]


def rows_of_batch(answer: JsonObject, statements: int) -> list[list[list[Any]]]:
    """Read the rows of each statement of a batch that was committed.

    Raises the errors of ``result`` if a statement failed, and those of ``rows``.
    """
    for error in answer["step_errors"]:
        if error is not None:
            raise _refused(error)
    _, *results, commit, _ = answer["step_results"]
    if commit is None:
        raise DatabaseError("libSQL left a batch uncommitted and didn't say why")
    if len(results) != statements:
        raise ValueError(f"{len(results)} results of {statements} statements")
    return [rows(each) for each in results]


def _statement(sql: str, parameters: Sequence[Any]) -> JsonObject:
    return {"sql": sql, "args": [_encode(value) for value in parameters], "want_rows": True}


def _ok(step: int) -> JsonObject:
    return {"type": "ok", "step": step}


def _encode(value: Any) -> JsonObject:
    match value:
        case None:
            return {"type": "null"}
        case bool() | int():
            if not -(2**63) <= value < 2**63:
                raise DataRefusedError(f"libSQL stores integers of 64 bits; {value} needs more")
            # As text, since numbers in JSON are often read as floats.
            return {"type": "integer", "value": str(int(value))}
        case float():
            if not math.isfinite(value):
                raise DataRefusedError(f"libSQL can't store {value}: JSON has no such number")
            return {"type": "float", "value": value}
        case str():
            return {"type": "text", "value": value}
        case bytes() | bytearray() | memoryview():
            return {"type": "blob", "base64": base64.b64encode(value).decode()}
        case _:
            raise DataRefusedError(f"libSQL has no type for a {type(value).__name__}")


def _decode(value: JsonObject) -> Any:
    match value["type"]:
        case "null":
            return None
        case "integer":
            return int(value["value"])
        case "float":
            return float(value["value"])
        case "text":
            return value["value"]
        case "blob":
            text = value["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4))  # sent without padding, too
        case other:
            raise DatabaseError(f"libSQL answered with a value of an unknown type, {other!r}")


def _refused(error: JsonObject) -> DatabaseError | MigrationRequiredError:
    """Translate the refusal of a statement; what ran before it in its batch was rolled back."""
    text = ": ".join(str(error[part]) for part in ("code", "message") if error.get(part))
    if any(sign in text.lower() for sign in _BUSY):
        return NothingRanError(text)
    if "utf-8" in text.lower():
        return UnreadableTextError(f"{text}; the statement may have run")
    if "response_too_large" in text.lower():
        return DatabaseError(f"{text}. Claim fewer jobs at once (--concurrency), or larger ones")
    return error_of(text, migrate="run `server-jobs migrate`", unavailable=_UNAVAILABLE)


def _http_error(status: int, text: str) -> DatabaseError:
    if status in {401, 403}:
        return DatabaseUnavailableError(
            f"the server refused the token (HTTP {status}): set SERVER_JOBS_DATABASE_TOKEN or"
            " TURSO_AUTH_TOKEN to one that may write to this database and hasn't expired"
        )
    if status == 404:
        return DatabaseUnavailableError(
            "the server doesn't have this database (HTTP 404): check the URL's host and path"
        )
    if status == 413:
        return DataRefusedError("the request is too large for the server (HTTP 413)")
    if 300 <= status < 400:
        return DatabaseUnavailableError(
            f"the server redirects to another address (HTTP {status}): use that address as the"
            " URL, since a token is never sent to an address that isn't configured"
        )
    message = f"HTTP {status}: {_message(text)}"
    if status == 429:
        return NothingRanError(message)
    return (DatabaseUnavailableError if status >= 500 else DatabaseError)(message)


def _message(text: str) -> str:
    try:
        answer = json.loads(text)
        message = answer.get("message") or answer.get("error")
    except (ValueError, AttributeError):
        message = None
    return str(message or text.strip() or "no reason given")[:300]
