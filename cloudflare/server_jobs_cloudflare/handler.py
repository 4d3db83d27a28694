"""Makes the class that a Worker exports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from server_jobs.database import Database
from server_jobs.errors import ConfigurationError, UnknownJobError
from server_jobs.records.outcomes import MAX_RELEASES
from server_jobs.registry import JobRegistry
from server_jobs_cloudflare.api import Answer, Api, Request
from server_jobs_cloudflare.backend import CloudflareWorkerBackend
from server_jobs_cloudflare.config import LAST_MOMENT_SECONDS, EdgeConfig, variable
from server_jobs_cloudflare.databases import DatabaseChoice, open_database
from server_jobs_cloudflare.invocation import InvocationDatabase, serving_with
from server_jobs_cloudflare.routing import check_routes
from server_jobs_cloudflare.summary import TickSummary

TOKEN_VARIABLE = "SERVER_JOBS_API_TOKEN"  # noqa: S105 - its name, not a token

_DEFAULTS = EdgeConfig()


def create_cron_handler(
    *,
    job_registry: JobRegistry,
    database: DatabaseChoice = "DB",
    max_concurrency: int = _DEFAULTS.concurrency,
    lease_seconds: float = _DEFAULTS.lease,
    lock_timeout_ms: float | None = None,
    queues: Sequence[str] = _DEFAULTS.queues,
    wall_budget_seconds: float = _DEFAULTS.wall_budget,
    max_jobs_per_tick: int = _DEFAULTS.max_jobs_per_tick,
    max_queries_per_tick: int = _DEFAULTS.max_queries,
    max_releases: int = MAX_RELEASES,
    prune_schedules: bool = False,
    api_jobs: Sequence[str] | None = None,
    api_queues: Sequence[str] | None = None,
    api_max_bytes: int = _DEFAULTS.api_max_bytes,
) -> type[Any]:
    """Make the entrypoint class of a Worker that a Cron Trigger wakes. Export it as ``Default``.

    ``database`` is the name of a D1 binding, or a function from the Worker's environment to a
    database. If the environment has the URL of a libSQL database, that goes before the binding.
    ``max_concurrency`` is how many handlers run at once. They share four of the six connections
    that the platform gives an invocation; the driver has two. ``lock_timeout_ms`` is another name
    of ``lease_seconds``, in milliseconds. Ticks whose ``wall_budget_seconds`` is above 55 take
    turns in claiming. ``api_jobs`` and ``api_queues`` are the jobs and queues that can be enqueued
    over HTTP: by default the registry's jobs and the Worker's queues. The Worker's variables go
    before these arguments; docs/cloudflare.md has them all.

    Raises ConfigurationError, also for a job that the edge can't execute.
    """
    if lock_timeout_ms is not None:
        if lease_seconds != _DEFAULTS.lease:
            raise ConfigurationError(
                "lock_timeout_ms is lease_seconds in milliseconds: give one of the two"
            )
        lease_seconds = lock_timeout_ms / 1000
    config = EdgeConfig(
        queues=queues,
        concurrency=max_concurrency,
        lease=lease_seconds,
        max_releases=max_releases,
        wall_budget=wall_budget_seconds,
        max_queries=max_queries_per_tick,
        max_jobs_per_tick=max_jobs_per_tick,
        prune_schedules=prune_schedules,
        api_jobs=api_jobs,
        api_queues=api_queues,
        api_max_bytes=api_max_bytes,
    )
    check_routes(job_registry, config.wall_budget)
    _check_names(job_registry, api_jobs)
    worker = _Worker(job_registry, database, config)
    base: Any = _entrypoint()

    # The platform finds the class by this name. Each public method can be called from outside, so
    # there are only these two.
    class Default(base):  # type: ignore[misc]
        """A Worker that executes jobs."""

        async def scheduled(self, controller: Any, env: Any = None, ctx: Any = None) -> None:
            """Execute one tick."""
            # The platform passes only the first argument; the environment is an attribute.
            del controller, env, ctx
            await worker.tick(self.env)

        async def fetch(self, request: Any) -> Any:
            """Answer one request."""
            return _response(await worker.answer(self.env, request))

    Default.__qualname__ = "Default"
    return Default


class _Worker:
    """What an isolate keeps from one invocation to the next. It may serve several at once."""

    def __init__(self, registry: JobRegistry, database: DatabaseChoice, config: EdgeConfig) -> None:
        self._registry = registry
        self._database = database
        self._config = config
        self._declared = False
        # Handlers that enqueue use the database of the invocation that they run in.
        registry.bind(InvocationDatabase())

    def _config_in(self, env: Any) -> EdgeConfig:
        config = self._config.in_environment(env)
        _check_names(self._registry, config.api_jobs)
        return config

    async def tick(self, env: Any) -> TickSummary:
        config = self._config_in(env)
        async with _opened(self._database, env) as database:
            backend = CloudflareWorkerBackend(
                database=database, job_registry=self._registry, config=config
            )
            with serving_with(backend.handler_database):
                # Declare schedules once in an isolate: its registry doesn't change, and a new
                # release starts new isolates.
                try:
                    return await backend.tick(declare=not self._declared)
                finally:
                    self._declared |= backend.maintenance.declared

    async def answer(self, env: Any, request: Any) -> Answer:
        config = self._config_in(env)
        headers = request.headers
        async with _opened(self._database, env) as database:
            api = Api(database, self._registry, config, variable(env, TOKEN_VARIABLE))
            with serving_with(database):
                return await api.answer(
                    Request(
                        method=str(request.method),
                        url=str(request.url),
                        authorization=str(headers.get("authorization") or ""),
                        content_length=str(headers.get("content-length") or ""),
                        body=request.text,
                    )
                )


def _check_names(registry: JobRegistry, api_jobs: Sequence[str] | None) -> None:
    for name in api_jobs or ():
        try:
            registry.get(name)
        except UnknownJobError as error:
            raise ConfigurationError(
                "api_jobs= or SERVER_JOBS_API_JOBS names a job that the Worker doesn't have:"
                f" {error}"
            ) from None


@asynccontextmanager
async def _opened(choice: DatabaseChoice, env: Any) -> AsyncIterator[Database]:
    """Open the database of an invocation. At the end of the block, await what is under way to it.

    Nothing is awaited after an exception that isn't an ``Exception``: there may be no time.
    """
    database = open_database(choice, env)
    try:
        yield database
    except Exception:
        await _close(database)
        raise
    await _close(database)


async def _close(database: Database) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_MOMENT_SECONDS):
            await database.close()


def _entrypoint() -> type[Any]:
    try:
        from workers import WorkerEntrypoint
    except ImportError:
        return _Entrypoint
    entrypoint: type[Any] = WorkerEntrypoint
    return entrypoint


class _Entrypoint:
    """Stands in for the vendor's base class where there is none, as in tests on CPython."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


def _response(answer: Answer) -> Any:
    try:
        from workers import Response
    except ImportError:
        return answer
    headers = {"content-type": "application/json; charset=utf-8", "cache-control": "no-store"}
    return Response(json.dumps(answer.document), status=int(answer.status), headers=headers)
