"""The rows: good ones, and hostile ones, which are good but for one column."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from server_jobs.sql.rules import complete_tables
from tests.hostile.values import SQLITE, Value, values_of

JOB = "Good"
GOOD_JOBS, DEAD_WORKERS, GOOD_SCHEDULES, OLD_RECORDS = 20, 3, 3, 3

Columns = dict[str, str]
"""SQL expressions by column."""

DAY = 86_400


@dataclass(frozen=True)
class HostileRow:
    """A row of a state, one column of which has a value that nobody sane would write."""

    table: str
    state: str
    column: str
    value: Value
    number: int

    def __str__(self) -> str:
        return f"{self.table} ({self.state}): {self.column} = {self.value.name}"

    @property
    def id(self) -> str:
        """Its id, unless that is what is hostile about it."""
        return f"hostile-{self.number}"

    def insert(self, dialect: str, prefix: str = "") -> str:
        """The statement that a program in another language, or a person, would run."""
        moment = Moments(dialect)
        states = JOB_STATES if self.table == "jobs" else SCHEDULE_STATES
        columns = {"id": f"'{self.id}'"} | states[self.state](moment)
        if self.table == "cron_jobs":
            columns["name"] = f"'{self.id}'"
        sql = self.value.sql(dialect)
        assert sql is not None
        columns[self.column] = moment.cast(self.table, self.column, sql)
        return insert(f"{prefix}{self.table}", columns)


class Moments:
    """Moments by the database's own clock, as each dialect spells them."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect

    def ago(self, seconds: int) -> str:
        return self.ahead(-seconds)

    def ahead(self, seconds: int) -> str:
        if self._dialect == SQLITE:
            return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{seconds:+d} seconds')"
        return f"now() + interval '{seconds} seconds'"

    def cast(self, table: str, column: str, sql: str) -> str:
        """An expression of text where PostgreSQL wants a document or a moment."""
        if self._dialect == SQLITE or "||" not in sql:
            return sql
        kind = complete_tables().metadata.tables[table].c[column].type
        return f"{sql}::jsonb" if type(kind).__name__ == "JsonText" else sql


def insert(table: str, columns: Columns) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


_JOB = {"job_name": f"'{JOB}'", "params": """'{"n": 1}'"""}
_AT_ONCE = """'{"base_seconds": 0, "factor": 1, "max_seconds": 0, "jitter": false}'"""


def _ready(moment: Moments) -> Columns:
    return _JOB | {"ready": "true", "scheduled_for": moment.ago(60)}


def _due(moment: Moments) -> Columns:
    return _JOB | {"scheduled_for": moment.ago(60)}


def _later(moment: Moments) -> Columns:
    return _JOB | {"scheduled_for": moment.ahead(3_600)}


def _running(moment: Moments) -> Columns:
    return _JOB | {
        "status": "'running'",
        "fence": "3",
        "attempt_count": "1",
        "worker_id": "'elsewhere'",
        "worker_started_at": moment.ago(120),
        "handler_started_at": moment.ago(120),
        "worker_expires_at": moment.ahead(3_600),
    }


def _expired(moment: Moments) -> Columns:
    return _running(moment) | {"worker_expires_at": moment.ago(60), "retry_policy": _AT_ONCE}


def _expired_before(moment: Moments) -> Columns:
    return _expired(moment) | {"handler_started_at": "NULL"}


def _launched(moment: Moments) -> Columns:
    return _running(moment) | {
        "worker_id": "'k8s/here/jobs/default'",
        "handler_started_at": "NULL",
        "worker_expires_at": moment.ahead(60),
    }


def _begun(moment: Moments) -> Columns:
    return _launched(moment) | {"handler_started_at": moment.ago(30)}


def _ended(status: str, moment: Moments) -> Columns:
    return _JOB | {
        "status": f"'{status}'",
        "fence": "3",
        "attempt_count": "1",
        "worker_id": "'gone'",
        "worker_started_at": moment.ago(3_700),
        "handler_started_at": moment.ago(3_660),
        "completed_at": moment.ago(3_600),
    }


JOB_STATES: dict[str, Callable[[Moments], Columns]] = {
    "pending, ready": _ready,
    "pending, due": _due,
    "pending, not due": _later,
    "running": _running,
    "running, expired": _expired,
    "running, expired before it began": _expired_before,
    "running, launched": _launched,
    "running, begun in a pod": _begun,
    "completed": partial(_ended, "completed"),
    "failed": partial(_ended, "failed"),
    "cancelled": partial(_ended, "cancelled"),
}

_SCHEDULE = _JOB | {"name": "'?'", "cron_expression": "'* * * * *'"}

SCHEDULE_STATES: dict[str, Callable[[Moments], Columns]] = {
    "due": lambda moment: _SCHEDULE | {"next_run_at": moment.ago(30)},
    "due since long": lambda moment: (
        _SCHEDULE
        | {
            "next_run_at": moment.ago(3_600),
            "catchup": "'all'",
            "catchup_window_seconds": "NULL",
            "catchup_limit": "3",
        }
    ),
    "not due": lambda moment: _SCHEDULE | {"next_run_at": moment.ahead(3_600)},
    "without a next fire time": lambda moment: _SCHEDULE | {"next_run_at": "NULL"},
    "disabled": lambda moment: _SCHEDULE | {"next_run_at": moment.ago(30), "enabled": "false"},
}


def hostile_rows(dialect: str, *, huge: bool = True) -> Iterator[HostileRow]:
    """Every column × its values × every state, as far as the dialect can spell the value."""
    number = 0
    tables = complete_tables()
    for table, states in ((tables.jobs, JOB_STATES), (tables.cron_jobs, SCHEDULE_STATES)):
        for state in states:
            for column in table.c:
                for value in values_of(column):
                    if value.sql(dialect) is None or (value.huge and not huge):
                        continue
                    number += 1
                    yield HostileRow(table.name, state, column.name, value, number)


def good_rows(dialect: str, prefix: str = "") -> list[str]:
    """The INSERTs of the rows that have a right to be served, whoever their neighbours are."""
    moment = Moments(dialect)
    jobs = [
        (_ready if number % 2 else _due)(moment) | {"id": f"'good-{number:02}'", "priority": "-1"}
        for number in range(GOOD_JOBS)
    ]
    jobs += [_expired(moment) | {"id": f"'dead-{number}'"} for number in range(DEAD_WORKERS)]
    jobs += [
        _ended("completed", moment)
        | {"id": f"'old-{number}'", "completed_at": moment.ago(60 * DAY)}
        for number in range(OLD_RECORDS)
    ]
    schedules = [
        SCHEDULE_STATES["due"](moment) | {"id": f"'plan-{number}'", "name": f"'good {number}'"}
        for number in range(GOOD_SCHEDULES)
    ]
    return [insert(f"{prefix}jobs", row) for row in jobs] + [
        insert(f"{prefix}cron_jobs", row) for row in schedules
    ]
