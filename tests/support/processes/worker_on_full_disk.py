"""`server-jobs` in a process for which the disk is full while the file of the first argument is.

SQLite itself refuses: the database may not get one page larger, which is SQLITE_FULL in the
middle of a transaction, as on a disk without room.
"""

import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any

_NO_LIMIT = 2**30


class _ConnectionOnFullDisk(sqlite3.Connection):
    full: Path

    def execute(self, *args: Any) -> sqlite3.Cursor:
        # A limit below the size of the file is taken for its size.
        limit = 1 if self.full.exists() else _NO_LIMIT
        super().execute(f"PRAGMA max_page_count = {limit}").fetchall()
        return super().execute(*args)


if __name__ == "__main__":
    _ConnectionOnFullDisk.full = Path(sys.argv.pop(1))
    sqlite3.connect = partial(sqlite3.connect, factory=_ConnectionOnFullDisk)  # type: ignore[assignment]

    from server_jobs.cli import main

    main()
