"""``python -m benchmarks.edge``: what the core costs in WebAssembly, on D1 and on libSQL.

The harness of ``tests/cloudflare`` brings both. CPU time is Node's, all of its threads; the
platform's own machines are others, so these figures compare releases, not with the limits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support.machine import describe
from benchmarks.support.measure import Samples, one
from benchmarks.support.report import HEADINGS, Figure, Target, print_table
from server_jobs.migrate import migrate
from tests.cloudflare.support.bundle import DEPLOYABLE, FIXTURE, build
from tests.cloudflare.support.edge import Edge, Spent, running_edge
from tests.support.hrana_server import TOKEN, HranaServer

ROUNDS = 5
BATCH = 100
QUERIES_AN_INVOCATION = 1_000

PREPARE = """
from server_jobs_cloudflare.d1 import D1Database
from uuid6 import uuid7
from server_jobs.outcomes import Completed
from server_jobs.records import NewJob
from server_jobs.store import Claim, Store
store = Store(D1Database(env.DB))
held = {}
"""
PREPARE_HRANA = PREPARE.replace(
    "store = Store(D1Database(env.DB))",
    """
from sqlalchemy.engine import make_url
from server_jobs.database.hrana import HranaDatabase
from server_jobs.schema import tables
from server_jobs_cloudflare.fetch_transport import FetchTransport
url = make_url({url!r})
store = Store(HranaDatabase(url, transport=FetchTransport(), tables=tables()))
""",
)
STEPS = {
    "enqueue": "await store.enqueue(["
    "NewJob(id=str(uuid7()), job_name='Greet', params='{}') for _ in range(SIZE)])",
    "stage": "await store.stage()",
    "claim": "jobs = await store.claim(Claim('default', ['Greet'], SIZE, 'edge', 60.0, True))\n"
    "assert len(jobs) == SIZE, len(jobs)",
    "complete": "settled = await store.settle({job.lease: Completed('null') for job in jobs})\n"
    "assert len(settled) == SIZE",
}


def measure() -> Iterator[Figure]:
    worker = DEPLOYABLE if (DEPLOYABLE / "wrangler.jsonc").exists() else FIXTURE
    with tempfile.TemporaryDirectory(prefix="sj-bench-") as folder, running_edge() as edge:
        bundle = build(worker, Path(folder))
        starts = [edge.start(bundle.mounts(), module=bundle.module) for _ in range(ROUNDS)]
        yield Figure(
            "bundle, compressed",
            "none",
            "MB",
            one(bundle.compressed_bytes / 2**20),
            target=Target("most", 3, of="figure"),
        )
        yield Figure("importing the Worker", "none", "ms", Samples(tuple(starts)))
        edge.migrate()
        yield from _steps(edge, "D1", PREPARE)
        file = Path(folder) / "served.db"
        migrate(f"sqlite:///{file}")
        with HranaServer() as server:
            url = f"{server.serve(file)}?authToken={TOKEN}"
            yield from _steps(edge, "libSQL", PREPARE_HRANA.replace("{url!r}", repr(url)))


def _steps(edge: Edge, database: str, prepare: str) -> Iterator[Figure]:
    edge.python(prepare)
    for code in STEPS.values():  # compiles the statements
        edge.python(code.replace("SIZE", "1"))
    rounds = [
        {name: edge.measure(code.replace("SIZE", str(BATCH))) for name, code in STEPS.items()}
        for _ in range(ROUNDS)
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


if __name__ == "__main__":
    machine = describe(Path(tempfile.gettempdir()), None)
    print_table(list(measure()), machine, [], HEADINGS)
