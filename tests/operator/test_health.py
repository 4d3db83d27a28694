"""Probes and figures: over HTTP, as the kubelet and Prometheus read them."""

import socket

import aiohttp
import pytest

from server_jobs_operator.cluster.reasons import Reason
from server_jobs_operator.telemetry import health as module
from server_jobs_operator.telemetry.health import Health, served
from server_jobs_operator.telemetry.metrics import Metrics


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def asked(health: Health, path: str) -> tuple[int, str]:
    port = free_port()
    async with (
        served(health, Metrics(), health_port=port, metrics_port=free_port()),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_a_loop_that_goes_round_is_alive() -> None:
    health = Health()
    health.beat("claim", 60.0)

    assert await asked(health, "/healthz") == (200, '{"stuck": []}')


async def test_a_loop_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_AFTER_SECONDS", -0.1)
    health = Health()
    health.beat("attend", 0.0)
    health.beat("claim", 60.0)

    assert health.stuck == ["attend"]
    assert await asked(health, "/healthz") == (503, '{"stuck": ["attend"]}')


async def test_who_leads_no_longer_has_no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_AFTER_SECONDS", -0.1)
    health = Health()
    health.beat("attend", 0.0)

    health.forget_loops()

    assert health.stuck == []


async def test_it_is_ready_when_nothing_fails_and_says_what_does() -> None:
    health = Health()
    assert (await asked(health, "/readyz"))[0] == 503

    health.answers("database")
    health.answers("Kubernetes API")
    assert (await asked(health, "/readyz"))[0] == 200

    health.fails("database", "connection refused")
    assert await asked(health, "/readyz") == (
        503,
        '{"problems": {"database": "connection refused"}, "degraded": {}}',
    )


async def test_what_concerns_one_of_many_is_named_and_leaves_it_ready() -> None:
    health = Health()
    for what in ("database", "Kubernetes API"):
        health.answers(what)

    health.degrades("namespace b", "forbidden")

    said = '{"problems": {}, "degraded": {"namespace b": "forbidden"}}'
    assert await asked(health, "/readyz") == (200, said)
    health.answers("namespace b")
    assert health.degraded == {}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"server_jobs_{name}", labels)


def test_who_leads_no_longer_shows_nothing_of_what_it_knew() -> None:
    metrics = Metrics()
    metrics.show_queues({"a": 3}, {"a": 60.0})
    metrics.show_running({("jobs", "default"): 2})
    metrics.reconciled()
    metrics._reconciled_at = (metrics._reconciled_at or 0) - 100
    assert (value(metrics, "reconcile_lag_seconds") or 0) >= 100

    metrics.end_term()

    assert value(metrics, "queue_depth", queue="a") is None
    assert value(metrics, "queue_oldest_seconds", queue="a") is None
    assert value(metrics, "running_jobs", namespace="jobs", runner="default") is None
    assert value(metrics, "reconcile_lag_seconds") == 0


def test_a_job_runner_that_is_gone_is_shown_no_longer() -> None:
    metrics = Metrics()
    metrics.show_running({("jobs", "a"): 2, ("jobs", "b"): 1})

    metrics.show_running({("jobs", "b"): 1})

    assert value(metrics, "running_jobs", namespace="jobs", runner="a") is None
    assert value(metrics, "running_jobs", namespace="jobs", runner="b") == 1


def test_reasons_are_counted_from_zero_on() -> None:
    metrics = Metrics()

    assert {value(metrics, "reasons_total", reason=str(reason)) for reason in Reason} == {0.0}
