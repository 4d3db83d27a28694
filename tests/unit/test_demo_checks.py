"""Every promise of the demo is one that its check can find broken."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server_jobs import JobRecord, JobStatus
from server_jobs.demo.checks import Evidence, check
from server_jobs.demo.crew import Worker
from server_jobs.demo.jobs import PrimesCounted, Report
from server_jobs.demo.modules import ModuleStatistics
from server_jobs.demo.scenario import Cast, Facts, Kill
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.rows import Claim

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEAD = "local/host/11/aaaa"
ALIVE = "local/host/22/bbbb"


def completed(job_id: str, result: str, errors: list[str] = []) -> JobRecord:  # noqa: B006
    attempts = len(errors) + 1
    described = [
        AttemptError(number, NOON, kind, "", "", DEAD).as_json()
        for number, kind in enumerate(errors, start=1)
    ]
    values: dict[str, Any] = dict.fromkeys(JobRecord.__dataclass_fields__)
    values |= {
        "id": job_id,
        "job_name": "demo.Job",
        "status": JobStatus.COMPLETED,
        "result": result,
        "errors": f"[{','.join(described)}]",
        "attempt_count": attempts,
        "fence": attempts,
        "release_count": 0,
        "worker_id": ALIVE,
        "handler_started_at": NOON,
    }
    return JobRecord(**values)


@pytest.fixture(scope="module")
def ended_process() -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


@pytest.fixture
def evidence(ended_process: subprocess.Popen[bytes]) -> Evidence:
    """A run in which all went as it should."""
    killed = Worker(1, ended_process, Path("log"), was_killed=True)
    records = [
        completed("module", ModuleStatistics(path="a.py", lines=7).model_dump_json()),
        completed("report", Report(modules=1, lines=7).model_dump_json()),
        completed("flaky", "{}", ["ConnectionError", "ConnectionError"]),
        completed("reminder", "{}"),
        completed(
            "primes",
            PrimesCounted(primes=17_984, attempt=2, pid=22).model_dump_json(),
            ["lease_expired"],
        ),
    ]
    return Evidence(
        cast=Cast(["module"], report="report", flaky="flaky", reminder="reminder", primes="primes"),
        facts=Facts(NOON, Kill(killed, DEAD, frozenset({Claim("primes", 1)}))),
        records={record.id: record for record in records},
        workers=[killed, Worker(2, ended_process, Path("log"))],
    )


def test_a_good_run_meets_no_objection(evidence: Evidence) -> None:
    assert [one for one in check(evidence) if not one.holds] == []


Change = Callable[[Evidence], Evidence]


def changing(job_id: str, **changes: Any) -> Change:
    def change(evidence: Evidence) -> Evidence:
        changed = replace(evidence.records[job_id], **changes)
        return replace(evidence, records={**evidence.records, job_id: changed})

    return change


def losing_the_module(evidence: Evidence) -> Evidence:
    left = {job_id: record for job_id, record in evidence.records.items() if job_id != "module"}
    return replace(evidence, records=left)


def killing_nobody(evidence: Evidence) -> Evidence:
    return replace(evidence, facts=replace(evidence.facts, kill=None))


def crashing_at_the_end(evidence: Evidence) -> Evidence:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    process.wait()
    return replace(evidence, workers=[Worker(2, process, Path("log"))])


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (changing("module", status=JobStatus.FAILED), "every job is completed"),
        (changing("module", status=JobStatus.PENDING), "every job is completed"),
        (losing_the_module, "every job is completed"),
        (changing("module", fence=2), "completed once"),
        (changing("flaky", attempt_count=2), "3 attempts"),
        (changing("reminder", handler_started_at=NOON - timedelta(seconds=1)), "before its time"),
        (changing("reminder", handler_started_at=None), "before its time"),
        (killing_nobody, "the killed one"),
        (changing("primes", worker_id=DEAD), "the killed one"),
        (changing("primes", errors="[]"), "the killed one"),
        (changing("primes", result='{"primes": 1, "attempt": 2, "pid": 22}'), "result is right"),
        (changing("report", result='{"modules": 1, "lines": 8}'), "the report"),
        (changing("report", result=None), "the report"),
        (crashing_at_the_end, "asked to stop"),
    ],
)
def test_a_broken_promise_is_found(evidence: Evidence, change: Change, broken: str) -> None:
    objected = [one.promise for one in check(change(evidence)) if not one.holds]

    assert any(broken in promise for promise in objected), objected


def test_a_job_that_is_missing_breaks_promises_instead_of_the_check(evidence: Evidence) -> None:
    assert not all(one.holds for one in check(replace(evidence, records={})))
