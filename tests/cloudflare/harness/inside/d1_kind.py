"""The conformance suite's kind of database inside Pyodide: the harness's D1, emptied."""

from typing import Any

import pytest
from pyodide.ffi import run_sync
from sqlalchemy import text

from server_jobs.sql.statement import Statement
from server_jobs_cloudflare.d1 import D1Database
from tests.support.databases.kinds import Place

bindings: dict[str, Any] = {}
"""Where the harness puts the binding: as it comes, or wrapped by the vendor's SDK."""


def make_place(request: pytest.FixtureRequest) -> Place:
    """The same database for every test: a new one would cost each a second."""
    run_sync(_empty(D1Database(bindings["DB"])))
    return Place(lambda: D1Database(bindings["DB"]))


async def _empty(database: D1Database) -> None:
    triggers = await database.execute(
        Statement(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
    )
    drops = [Statement(text(f"DROP TRIGGER {name}")) for (name,) in triggers]
    deletions = [Statement(text(f"DELETE FROM {name}")) for name in ("jobs", "cron_jobs")]
    await database.batch(drops + deletions)
