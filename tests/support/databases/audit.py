"""What became of every row, written down by the database itself, in the same transactions."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from sqlalchemy.engine import make_url

_SQLITE: LiteralString = """
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, job_id TEXT, was TEXT, became TEXT, fence INTEGER, attempt INTEGER
);
CREATE TRIGGER audit AFTER UPDATE ON jobs
WHEN old.status <> new.status OR old.fence <> new.fence OR old.completed_at IS NOT NULL
BEGIN
  INSERT INTO audit (job_id, was, became, fence, attempt)
  VALUES (new.id, old.status, new.status, new.fence, new.attempt_count);
END;
"""

_POSTGRES: LiteralString = """
CREATE TABLE audit (
  seq BIGSERIAL PRIMARY KEY, job_id TEXT, was TEXT, became TEXT, fence BIGINT, attempt INTEGER
);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (job_id, was, became, fence, attempt)
  VALUES (new.id, old.status, new.status, new.fence, new.attempt_count);
  RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER UPDATE ON jobs FOR EACH ROW
WHEN (old.status <> new.status OR old.fence <> new.fence OR old.completed_at IS NOT NULL)
EXECUTE FUNCTION audit();
"""

_TRANSITIONS: LiteralString = "SELECT job_id, was, became, fence, attempt FROM audit ORDER BY seq"
_ROWS: LiteralString = (
    "SELECT id, status, fence, attempt_count, max_attempts, CAST(result AS text) FROM jobs"
)


@dataclass(frozen=True)
class Transition:
    """One change of a row: of its status, of its fence, or of anything after its end."""

    job_id: str
    was: str
    became: str
    fence: int
    attempt: int


@dataclass(frozen=True)
class Row:
    """What is left of a job."""

    job_id: str
    status: str
    fence: int
    attempt: int
    max_attempts: int
    result: str | None


class AuditedDatabase:
    """A migrated database, looked at beside the drivers that are tested."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._url = url
        self._file = Path(parsed.database or "") if url.startswith("sqlite") else None

    def install(self) -> None:
        """From now on the database keeps the audit."""
        if self._file is not None:
            with closing(sqlite3.connect(self._file)) as connection:
                connection.executescript(_SQLITE)
        else:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute(_POSTGRES)

    def transitions(self) -> list[Transition]:
        """All changes, in the order in which each job went through them."""
        return [Transition(*row) for row in self.query(_TRANSITIONS)]

    def rows(self) -> list[Row]:
        return [Row(*row) for row in self.query(_ROWS)]

    def query(self, sql: LiteralString) -> list[tuple[Any, ...]]:
        """Raises sqlite3.Error or psycopg.Error while the database is away."""
        if self._file is None:
            with psycopg.connect(self._url, connect_timeout=5) as connection:
                return connection.execute(sql).fetchall()
        with closing(sqlite3.connect(self._file, timeout=10)) as connection:
            return connection.execute(sql).fetchall()
