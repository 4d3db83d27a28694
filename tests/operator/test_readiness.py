"""`server-jobs-operator ready`: pods are asked themselves, here by a real probe on this machine."""

import socket
from typing import Any

from server_jobs_operator.telemetry.health import Health, served
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.telemetry.readiness import problems_of


def pod(name: str, address: str | None = "127.0.0.1", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, **metadata},
        "status": {"phase": "Running" if address else "Pending"}
        | ({"podIP": address} if address else {}),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_pod_is_ready_when_it_says_so() -> None:
    health, port = Health(), free_port()
    async with served(health, Metrics(), health_port=port, metrics_port=free_port()):
        (problem,) = await problems_of([pod("a")], port)
        assert problem.startswith("pod a isn't ready: ")
        assert "database" in problem

        health.answers("database")
        health.answers("Kubernetes API")
        assert await problems_of([pod("a")], port) == []


async def test_pods_that_are_missing_or_silent_are_problems() -> None:
    port = free_port()

    (silent,) = await problems_of([pod("a")], port)
    assert silent.startswith("pod a doesn't answer: ")
    assert await problems_of([pod("b", None)], port) == ["pod b hasn't started: it is Pending"]
    assert await problems_of([], port) == ["there is no pod of the operator"]


async def test_a_pod_that_ends_isnt_asked() -> None:
    ending = pod("a", deletionTimestamp="2026-01-01T00:00:00Z")

    assert await problems_of([ending], free_port()) == ["there is no pod of the operator"]
