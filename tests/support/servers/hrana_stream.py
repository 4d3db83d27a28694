"""One stream of a Hrana server: the protocol's requests over one connection of sqlite3."""

import base64
import re
import sqlite3
from typing import Any

Json = dict[str, Any]


class Stream:
    """Answers the requests of one stream. Whatever isn't committed when it ends is rolled back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._stored: dict[int, str] = {}

    def answer(self, request: Json) -> Json:
        """One request → the result that stands at its place in the pipeline."""
        kind = request["type"]
        try:
            return {"type": "ok", "response": {"type": kind} | self._response(kind, request)}
        except sqlite3.Error as error:
            return {"type": "error", "error": refusal(error)}

    def batch(self, batch: Json) -> Json:
        results: list[Json | None] = []
        errors: list[Json | None] = []
        for step in batch["steps"]:
            result = error = None
            if self._holds(step.get("condition"), results, errors):
                try:
                    result = self._run(step["stmt"])
                except sqlite3.Error as refused:
                    error = refusal(refused)
            results.append(result)
            errors.append(error)
        return {"step_results": results, "step_errors": errors}

    def _response(self, kind: str, request: Json) -> Json:
        match kind:
            case "execute":
                return {"result": self._run(request["stmt"])}
            case "batch":
                return {"result": self.batch(request["batch"])}
            case "sequence":
                self._sequence(self._sql(request))
                return {}
            case "store_sql":
                self._stored[request["sql_id"]] = request["sql"]
                return {}
            case "close_sql":
                self._stored.pop(request["sql_id"], None)
                return {}
            case "describe":
                return {"result": self._described(self._sql(request))}
            case "get_autocommit":
                return {"is_autocommit": not self.connection.in_transaction}
            case "close":
                return {}
            case _:
                raise sqlite3.ProgrammingError(f"unknown request {kind}")

    def _run(self, statement: Json) -> Json:
        before = self.connection.total_changes
        cursor = self.connection.execute(self._sql(statement), _arguments(statement))
        rows = cursor.fetchall()
        wanted = rows if statement.get("want_rows", True) else []
        return {
            "cols": [{"name": name, "decltype": None} for name, *_ in cursor.description or ()],
            "rows": [[encoded(value) for value in row] for row in wanted],
            "affected_row_count": self.connection.total_changes - before,
            "last_insert_rowid": str(cursor.lastrowid) if cursor.lastrowid else None,
            "replication_index": None,
            "rows_read": len(rows),
            "rows_written": 0,
            "query_duration_ms": 0.0,
        }

    def _sequence(self, script: str) -> None:
        # Not executescript(), which commits first what the stream has begun.
        statement = ""
        for part in re.split(r"(?<=;)", script):
            statement += part
            if sqlite3.complete_statement(statement):
                self.connection.execute(statement).fetchall()
                statement = ""
        if statement.strip():
            self.connection.execute(statement).fetchall()

    def _described(self, sql: str) -> Json:
        without_text = re.sub(r"'(?:[^']|'')*'", "''", sql)
        reads = sql.lstrip()[:6].upper() == "SELECT"
        returns = reads or "RETURNING" in without_text.upper()
        return {
            "params": [{"name": None} for _ in re.findall(r"\?", without_text)],
            "cols": [{"name": "c", "decltype": None}] if returns else [],
            "is_explain": sql.lstrip()[:7].upper() == "EXPLAIN",
            "is_readonly": reads,
        }

    def _sql(self, request: Json) -> str:
        sql: str | None = request.get("sql")
        return sql if sql is not None else self._stored[request["sql_id"]]

    def _holds(self, condition: Any, results: list[Any], errors: list[Any]) -> bool:
        if condition is None:
            return True
        match condition["type"]:
            case "ok":
                return results[condition["step"]] is not None
            case "error":
                return errors[condition["step"]] is not None
            case "not":
                return not self._holds(condition["cond"], results, errors)
            case "and":
                return all(self._holds(each, results, errors) for each in condition["conds"])
            case "or":
                return any(self._holds(each, results, errors) for each in condition["conds"])
            case "is_autocommit":
                return not self.connection.in_transaction
            case other:
                raise sqlite3.ProgrammingError(f"unknown condition {other}")


def refusal(error: sqlite3.Error) -> Json:
    code = getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"
    return {"message": f"SQLite error: {error}", "code": code}


def encoded(value: Any) -> Json:
    match value:
        case None:
            return {"type": "null"}
        case int():
            return {"type": "integer", "value": str(value)}
        case float():
            return {"type": "float", "value": value}
        case bytes():
            return {"type": "blob", "base64": base64.b64encode(value).decode().rstrip("=")}
        case _:
            return {"type": "text", "value": value}


def _decoded(value: Json) -> Any:
    match value["type"]:
        case "null":
            return None
        case "integer":
            return int(value["value"])
        case "float":
            return float(value["value"])
        case "blob":
            text = value["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4))
        case _:
            return value["value"]


def _arguments(statement: Json) -> Any:
    named = statement.get("named_args")
    if not named:
        return [_decoded(value) for value in statement.get("args") or ()]
    if all(each["name"].startswith("?") for each in named):  # positions, as one client names them
        named = sorted(named, key=lambda each: int(each["name"][1:]))
        return [_decoded(each["value"]) for each in named]
    return {each["name"].lstrip(":@$"): _decoded(each["value"]) for each in named}
