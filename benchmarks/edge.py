"""Measures what a tick and the core cost in WebAssembly, on D1 and on libSQL.

The harness of ``tests/cloudflare`` provides both. CPU time is that of all of Node's threads. The
platform's machines are different, so these times compare releases; they say nothing about limits.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.support.measure import Samples, one
from benchmarks.support.report import Figure, Target
from benchmarks.support.run import Run
from server_jobs.migrate import migrate
from tests.cloudflare.support.bundle import DEPLOYABLE, build
from tests.cloudflare.support.edge import Edge, Spent, running_edge
from tests.support.servers.hrana import TOKEN, HranaServer

BATCH = 100
QUERIES_AN_INVOCATION = 1_000

PREPARE = """
from server_jobs_cloudflare.d1 import D1Database
from uuid6 import uuid7
from server_jobs.records.outcomes import Completed
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import NewJob
from server_jobs.store.store import Store
store = Store(D1Database(env.DB))
held = {}
"""
PREPARE_HRANA = PREPARE.replace(
    "store = Store(D1Database(env.DB))",
    """
from sqlalchemy.engine import make_url
from server_jobs.database.hrana import HranaDatabase
from server_jobs.sql.tables import tables
from server_jobs_cloudflare.fetch_transport import FetchTransport
url = make_url({url!r})
store = Store(HranaDatabase(url, transport=FetchTransport(), tables=tables()))
""",
)
# Without numbers, `ProcessData` does nothing.
NO_OPS = f"""
INSERT INTO jobs (id, job_name, queue, params, ready)
WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < {BATCH})
SELECT lower(hex(randomblob(18))), 'ProcessData', 'edge', '{{"numbers": []}}', 1 FROM up
"""
STEPS = {
    "enqueue": "await store.enqueue(["
    "NewJob(id=str(uuid7()), job_name='Greet', params='{}') for _ in range(SIZE)])",
    "stage": "await store.stage()",
    "claim": "jobs = await store.claim(\n"
    "    ClaimRequest('default', ['Greet'], SIZE, 'edge', 60.0, True))\n"
    "assert len(jobs) == SIZE, len(jobs)",
    "complete": "settled = await store.settle({job.claim: Completed('null') for job in jobs})\n"
    "assert len(settled) == SIZE",
}


def measure(run: Run) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="sj-bench-") as folder, running_edge() as edge:
        bundle = build(DEPLOYABLE, Path(folder))
        starts = [edge.start(bundle.mounts(), module=bundle.module) for _ in range(run.rounds)]
        yield Figure(
            "bundle, compressed",
            "none",
            "MB",
            one(bundle.compressed_bytes / 1e6),
            target=Target("most", 3, of="figure"),
        )
        yield Figure("importing the Worker", "none", "ms", Samples(tuple(starts)))
        edge.migrate()
        yield from _ticks(run, edge, "D1", lambda: edge.sql(NO_OPS))
        yield from _steps(run, edge, "D1", PREPARE)
        file = Path(folder) / "served.db"
        migrate(f"sqlite:///{file}")
        with HranaServer() as server:
            url = server.serve(file)
            variables = {"TURSO_DATABASE_URL": url, "TURSO_AUTH_TOKEN": TOKEN}
            edge.start(bundle.mounts(), module=bundle.module, variables=variables)
            yield from _ticks(run, edge, "libSQL", lambda: _run(file, NO_OPS))
            steps = PREPARE_HRANA.replace("{url!r}", repr(f"{url}?authToken={TOKEN}"))
            yield from _steps(run, edge, "libSQL", steps)


def _ticks(run: Run, edge: Edge, database: str, enqueue: Callable[[], object]) -> Iterator[Figure]:
    """Measure whole ticks of the deployable Worker: without jobs, and with a batch of no-ops."""
    edge.tick()  # compiles the statements
    idle, busy = [], []
    for _ in range(run.rounds):
        idle.append(_tick(edge))
        enqueue()
        busy.append(_tick(edge))
        assert busy[-1][1]["completed"] == BATCH, busy[-1]
    for what, ticks in (("that finds nothing", idle), (f"of {BATCH} no-op jobs", busy)):
        statements = [float(said["queries"]) for _, said in ticks]
        yield _figure(f"tick {what}: round trips", database, "calls", [each for each, _ in ticks])
        most = Target("most", QUERIES_AN_INVOCATION, of="figure")
        yield Figure(
            f"tick {what}: statements", database, "queries", Samples(tuple(statements)), target=most
        )
    more = [
        (loaded.cpu - empty.cpu) / BATCH for (empty, _), (loaded, _) in zip(idle, busy, strict=True)
    ]
    yield Figure("CPU a no-op job, in a tick", database, "ms", Samples(tuple(more)))


def _tick(edge: Edge) -> tuple[Spent, dict[str, int]]:
    """Run one tick → what it took, and its own summary."""
    edge.logs.clear()
    spent = edge.tick()
    (line,) = [line for line in edge.logs if '"event": "tick"' in line]
    said: dict[str, int] = json.loads(line)
    return spent, said


def _run(file: Path, sql: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(sql)
    connection.close()


def _steps(run: Run, edge: Edge, database: str, prepare: str) -> Iterator[Figure]:
    edge.python(prepare)
    for code in STEPS.values():  # compiles the statements
        edge.python(code.replace("SIZE", "1"))
    rounds = [
        {name: edge.measure(code.replace("SIZE", str(BATCH))) for name, code in STEPS.items()}
        for _ in range(run.rounds)
    ]
    for name in STEPS:
        spent = [each[name] for each in rounds]
        yield _figure(f"{name} {BATCH} jobs: round trips", database, "calls", spent)
        if database == "D1":
            yield _figure(f"{name} {BATCH} jobs: statements", database, "queries", spent)
    cpu = [sum(spent.cpu for spent in each.values()) / BATCH for each in rounds]
    yield Figure("CPU a no-op job, from enqueue to complete", database, "ms", Samples(tuple(cpu)))
    if database != "D1":
        return
    tick = [sum(spent.queries for spent in each.values()) for each in rounds]
    yield Figure(
        f"statements for {BATCH} jobs in all",
        "D1",
        "queries",
        Samples(tuple(map(float, tick))),
        target=Target("most", QUERIES_AN_INVOCATION / 100, of="figure"),
    )


def _figure(what: str, database: str, unit: str, spent: list[Spent]) -> Figure:
    if unit == "calls":
        return Figure(what, database, "calls", Samples(tuple(float(one.calls) for one in spent)))
    return Figure(what, database, "queries", Samples(tuple(float(one.queries) for one in spent)))
