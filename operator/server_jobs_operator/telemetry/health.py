"""Probes and metrics by HTTP.

Alive is an operator whose loops go round. A database or an API server that is away makes it
unready, not dead: a restart would help neither.
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
"""Beyond its own pause, a loop that doesn't come round for so long is stuck."""

ROUND_SECONDS = 180.0
"""What a loop gets for one round: some requests that aren't answered in time among them."""


class Health:
    """What is known of the operator's state."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._problems = dict.fromkeys(("database", "Kubernetes API"), "not asked yet")

    def beat(self, loop: str, pause: float) -> None:
        """A loop goes round, and is heard of again within about that many seconds."""
        self._next[loop] = time.monotonic() + pause

    def forget_loops(self) -> None:
        """No longer leading: nothing is expected to go round."""
        self._next.clear()

    def answers(self, what: str) -> None:
        """A server answers (again)."""
        self._problems.pop(what, None)

    def fails(self, what: str, problem: str) -> None:
        """A server doesn't."""
        self._problems[what] = problem

    @property
    def loops(self) -> list[str]:
        """Loops that are expected to go round."""
        return sorted(self._next)

    @property
    def stuck(self) -> list[str]:
        """Loops that should have come round long ago."""
        late = time.monotonic() - STUCK_AFTER_SECONDS
        return sorted(loop for loop, moment in self._next.items() if moment < late)

    @property
    def problems(self) -> dict[str, str]:
        """Why it isn't ready."""
        return dict(self._problems)


@asynccontextmanager
async def served(
    health: Health, metrics: Metrics, *, health_port: int, metrics_port: int
) -> AsyncIterator[None]:
    """Answer probes on one port, and Prometheus on the other."""

    async def healthz(request: web.Request) -> web.Response:
        stuck = health.stuck
        return web.json_response({"stuck": stuck}, status=503 if stuck else 200)

    async def readyz(request: web.Request) -> web.Response:
        problems = health.problems
        return web.json_response({"problems": problems}, status=503 if problems else 200)

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
