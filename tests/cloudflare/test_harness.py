"""The harness itself: it refuses what the platform refuses, and breaks what a test says."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cloudflare.support import wheels
from tests.cloudflare.support.edge import ROOT, Edge, EdgeError

WORKER = ROOT / "tests" / "cloudflare" / "worker" / "src"

ADD_JOBS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO jobs (id, job_name, ready) SELECT printf('%04d', i), 'Greet', 1 FROM n
"""
COUNTS = "SELECT status, count(*) AS n, max(fence) AS fence FROM jobs GROUP BY status"


def start(edge: Edge, source: Path = WORKER) -> float:
    return edge.start(
        {
            "/session/src": source,
            "/session/python_modules": wheels.installed(wheels.WORKER),
            "/core": ROOT / "runner",
            "/package": ROOT / "cloudflare",
        },
        module="entry",
    )


def counts(edge: Edge) -> dict[str, tuple[int, int]]:
    return {row["status"]: (row["n"], row["fence"]) for row in edge.sql(COUNTS)}


class Server(BaseHTTPRequestHandler):
    requests = 0

    def do_GET(self) -> None:
        Server.requests += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.requests = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_ticks_at_once_complete_each_job_once(edge: Edge) -> None:
    start(edge)
    edge.sql(ADD_JOBS, 30)

    ticked = edge.ticks(3)

    assert ticked.errors == []
    assert counts(edge) == {"completed": (30, 1)}
    assert 1 < ticked.most <= 6
    assert ticked.queries >= 30 / 7
    assert ticked.cpu > 0
    assert sum('"tick": "done"' in line for line in edge.logs) == 3


def test_seventh_connection_is_refused(edge: Edge) -> None:
    start(edge)

    assert edge.fetch("/many/6").text == ""
    assert "more than 6 connections" in edge.fetch("/many/7").text


@pytest.mark.parametrize("calls", [2, 3, 4])
def test_tick_that_is_cut_off_does_nothing_more_and_the_database_stays(
    edge: Edge, calls: int
) -> None:
    start(edge)
    edge.sql(ADD_JOBS, 30)
    edge.cut_off_after(calls)

    assert len(edge.ticks().errors) == 1
    left = counts(edge)
    assert left["running"] == (7, 1)
    assert left["pending"] == (30 - 7 * (calls - 1), 0)

    edge.sql(
        "UPDATE jobs SET status = 'cancelled', completed_at = '2030-01-01 00:00:00',"
        " worker_expires_at = NULL WHERE status = 'running'"
    )
    start(edge)
    edge.tick()
    assert counts(edge) == {"completed": (23, 1), "cancelled": (7, 1)}


@pytest.mark.parametrize(("when", "reached"), [("before", 1), ("after", 2)])
def test_fetch_is_broken_where_the_test_says(
    edge: Edge, server: str, when: str, reached: int
) -> None:
    start(edge)
    assert edge.fetch(f"/get?{server}").text == "here"

    edge.break_fetches(1, when=when)  # type: ignore[arg-type]

    assert "Network connection lost" in edge.fetch(f"/get?{server}").text
    assert Server.requests == reached
    assert edge.fetch(f"/get?{server}").text == "here"


@pytest.mark.parametrize(
    "line",
    [
        "import uuid; uuid.uuid4()",
        "import os; os.urandom(1)",
        "import time; time.time()",
        "from workers import env; env.DB.prepare('SELECT 1').run()",
        "from js import fetch; fetch('https://example.com')",
    ],
)
def test_global_scope_has_no_entropy_clock_or_io(edge: Edge, tmp_path: Path, line: str) -> None:
    entry = "from workers import WorkerEntrypoint\nclass Default(WorkerEntrypoint): pass\n"
    (tmp_path / "entry.py").write_text(entry)
    start(edge, tmp_path)

    (tmp_path / "entry.py").write_text(f"{entry}{line}\n")
    with pytest.raises(EdgeError, match="Disallowed operation called within global scope"):
        start(edge, tmp_path)


def test_class_of_another_name_isnt_exported(edge: Edge, tmp_path: Path) -> None:
    entry = "from workers import WorkerEntrypoint\nclass Other(WorkerEntrypoint): pass\n"
    (tmp_path / "entry.py").write_text(f"{entry}Default = Other\n")

    with pytest.raises(EdgeError, match="exports 0 classes named Default"):
        start(edge, tmp_path)
