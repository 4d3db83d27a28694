"""Jobs in a SQLite file that a Hrana server shares out, and how often each one was completed."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from server_jobs.migrate import migrate

# Past all code of ours: what a row has become, the file itself writes down.
_AUDIT = """
CREATE TABLE completions (id TEXT, worker TEXT);
CREATE TRIGGER completed AFTER UPDATE ON jobs
WHEN NEW.status = 'completed' AND OLD.status <> 'completed'
BEGIN INSERT INTO completions VALUES (NEW.id, OLD.worker_id); END;
"""
_ADD = """
INSERT INTO jobs (id, job_name, queue, params, ready)
SELECT ? || value, ?, ?, ?, 1 FROM json_each(?)
"""


class ServedJobs:
    """The file behind the server, looked at directly."""

    def __init__(self, file: Path) -> None:
        self.file = file
        migrate(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(_AUDIT)

    def add(self, number: int, *, job_name: str, queue: str, params: str) -> None:
        numbers = str(list(range(number)))
        self.run(_ADD, (f"{queue}-", job_name, queue, params, numbers))

    def counts(self) -> dict[str, int]:
        return dict(self.run("SELECT status, count(*) FROM jobs GROUP BY status"))

    def expire_leases(self) -> None:
        """Let the time pass that leases and the pauses before another attempt last."""
        past = "2020-01-01 00:00:00.000000"
        self.run("UPDATE jobs SET worker_expires_at = ? WHERE status = 'running'", (past,))
        self.run("UPDATE jobs SET scheduled_for = ? WHERE status = 'pending'", (past,))

    def completed_more_than_once(self) -> list[str]:
        counts = Counter(job_id for (job_id,) in self.run("SELECT id FROM completions"))
        return [job_id for job_id, times in counts.items() if times > 1]

    def workers(self, queue: str) -> set[str]:
        """Who completed the jobs of a queue."""
        found = self.run("SELECT DISTINCT worker FROM completions WHERE id LIKE ?", (f"{queue}-%",))
        return {worker for (worker,) in found}

    def run(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with closing(sqlite3.connect(self.file, isolation_level=None, timeout=30)) as connection:
            return connection.execute(sql, values).fetchall()
