"""Answers probes and serves metrics over HTTP.

An operator is alive while its loops iterate. If the database or the API server doesn't answer, it
is unready but alive: restarting it wouldn't help.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server_jobs_operator.telemetry.metrics import Metrics

STUCK_AFTER_SECONDS = 120.0
"""A loop is stuck if it is this much later than its own pause allows."""

ROUND_SECONDS = 180.0
"""How long one round of a loop may take, with some requests that time out."""


class Health:
    """Which loops iterate, and which servers don't answer.

    It begins unready: the database and the Kubernetes API haven't been asked yet.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._problems = dict.fromkeys(("database", "Kubernetes API"), "not asked yet")
        self._degraded: dict[str, str] = {}

    def beat(self, loop: str, pause: float) -> None:
        """A loop has come round. It is expected again within ``pause`` seconds."""
        self._next[loop] = time.monotonic() + pause

    def forget_loops(self) -> None:
        """The term is over: no loop is expected to come round."""
        self._next.clear()

    def answers(self, what: str) -> None:
        """Takes back a problem: the server called ``what`` answers, or the cause is gone."""
        self._problems.pop(what, None)
        self._degraded.pop(what, None)

    def fails(self, what: str, problem: str) -> None:
        """Makes the operator unready: ``problem`` says what is wrong with ``what``."""
        self._problems[what] = problem

    def degrades(self, what: str, problem: str) -> None:
        """Names a problem that leaves the operator ready: it concerns one of many."""
        self._degraded[what] = problem

    @property
    def loops(self) -> list[str]:
        """The names of the loops that are expected to come round."""
        return sorted(self._next)

    @property
    def stuck(self) -> list[str]:
        """The names of the loops that are stuck."""
        late = time.monotonic() - STUCK_AFTER_SECONDS
        return sorted(loop for loop, moment in self._next.items() if moment < late)

    @property
    def problems(self) -> dict[str, str]:
        """What makes the operator unready: problems by the name of what has them."""
        return dict(self._problems)

    @property
    def degraded(self) -> dict[str, str]:
        """What is wrong with one of many, which the operator goes on without."""
        return dict(self._degraded)


@asynccontextmanager
async def served(
    health: Health, metrics: Metrics, *, health_port: int, metrics_port: int
) -> AsyncIterator[None]:
    """Serves probes on one port, and metrics for Prometheus on the other, while it is entered."""

    async def healthz(request: web.Request) -> web.Response:
        stuck = health.stuck
        return web.json_response({"stuck": stuck}, status=503 if stuck else 200)

    async def readyz(request: web.Request) -> web.Response:
        problems = health.problems
        answer = {"problems": problems, "degraded": health.degraded}
        return web.json_response(answer, status=503 if problems else 200)

    async def figures(request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    probes, prometheus = web.Application(), web.Application()
    probes.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    prometheus.add_routes([web.get("/metrics", figures)])
    runners = []
    try:
        for app, port in ((probes, health_port), (prometheus, metrics_port)):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            runners.append(runner)
            await web.TCPSite(runner, None, port).start()
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
