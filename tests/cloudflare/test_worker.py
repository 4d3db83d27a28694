"""The deployable Worker, as wrangler packs it, in WebAssembly on a real D1."""

import json
from collections.abc import Iterator

import pytest

from tests.cloudflare.support.bundle import Bundle
from tests.cloudflare.support.edge import Edge, running_edge
from tests.support.edge_worker import lines

TOKEN = "a token"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}

ADD_JOBS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO jobs (id, job_name, queue, params, ready)
SELECT printf('%04d', i), 'ProcessData', 'edge', json_object('numbers', json_array(i, i)), 1 FROM n
"""
COUNTS = "SELECT status, count(*) AS n, max(fence) AS fence FROM jobs GROUP BY status"
EXPIRE = "UPDATE jobs SET worker_expires_at = '2020-01-01 00:00:00' WHERE status = 'running'"
DUE = "UPDATE jobs SET scheduled_for = '2020-01-01 00:00:00' WHERE status = 'pending'"


@pytest.fixture
def worker(bundle: Bundle) -> Iterator[Edge]:
    with running_edge() as edge:
        edge.migrate()
        start(edge, bundle)
        yield edge


def start(edge: Edge, bundle: Bundle) -> None:
    variables = {"SERVER_JOBS_API_TOKEN": TOKEN}
    edge.start(bundle.mounts(), module=bundle.module, variables=variables)


def counts(edge: Edge) -> dict[str, int]:
    return {row["status"]: row["n"] for row in edge.sql(COUNTS)}


def enqueue(edge: Edge, name: str, params: object) -> str:
    body = json.dumps({"job_name": name, "params": params})
    answer = edge.fetch("/jobs", method="POST", headers=AUTHORIZED, body=body)
    assert answer.status == 202, answer.text
    return str(answer.json()["id"])


def test_wrangler_has_nothing_to_complain_of(bundle: Bundle) -> None:
    assert bundle.warnings == []


def test_reference_jobs_are_enqueued_executed_and_shown(worker: Edge) -> None:
    email = enqueue(worker, "SendEmail", {"to": "ada@example.com", "subject": "hello"})
    data = enqueue(worker, "ProcessData", {"numbers": [1, 2, 3.5]})

    ticked = worker.tick()

    assert ticked.most <= 6
    shown = {i: worker.fetch(f"/jobs/{i}", headers=AUTHORIZED).json() for i in (email, data)}
    assert {each["status"] for each in shown.values()} == {"completed"}
    assert shown[email]["result"] == {"message_id": f"message-{email}"}
    assert shown[data]["result"] == {"count": 3, "total": 6.5}
    output = "\n".join(worker.logs)
    assert {line["job_name"] for line in lines(output, "job")} == {"SendEmail", "ProcessData"}
    (summary,) = lines(output, "tick")
    assert (summary["completed"], summary["queries"]) == (2, ticked.queries)


def test_http_interface_refuses_strangers(worker: Edge) -> None:
    assert worker.fetch("/healthz").json() == {"status": "ok"}
    assert worker.fetch("/jobs", method="POST", body="{}").status == 401
    wrong = {"authorization": "Bearer other"}
    assert worker.fetch("/jobs", method="POST", headers=wrong, body="{}").status == 401
    assert worker.fetch("/").status == 404


def test_eight_ticks_at_once_complete_500_jobs_once_each(worker: Edge) -> None:
    worker.sql(ADD_JOBS, 500)

    ticked = worker.ticks(8)

    assert ticked.errors == []
    assert ticked.most <= 8 * 2  # the driver's own limit, in each tick
    (row,) = worker.sql(COUNTS)
    assert (row["status"], row["n"], row["fence"]) == ("completed", 500, 1)
    assert len(lines("\n".join(worker.logs), "job")) == 500


def test_tick_that_is_cut_off_leaves_jobs_that_later_ticks_complete(
    worker: Edge, bundle: Bundle
) -> None:
    worker.sql(ADD_JOBS, 30)
    worker.cut_off_after(10)
    assert len(worker.ticks().errors) == 1
    left = counts(worker)
    assert left["running"] > 0
    assert left["pending"] > 0

    worker.sql(EXPIRE)
    start(worker, bundle)
    worker.tick()
    worker.sql(DUE)
    worker.tick()

    assert counts(worker) == {"completed": 30}
