"""What a leader does from the beginning to the end of its term: its loops start and end here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from server_jobs.errors import DatabaseError, DatabaseUnavailableError, StoreError
from server_jobs.monitoring.monitor import LiveKind, Monitor
from server_jobs.schedules.scheduler import Scheduler
from server_jobs.schedules.store import ScheduleStore
from server_jobs.store.retention import Retention
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.kube import Json, KubeError
from server_jobs_operator.cluster.names import API_VERSION, group_path, resources_path
from server_jobs_operator.controllers.default_runner import DefaultRunner
from server_jobs_operator.controllers.job_runners import JobRunners
from server_jobs_operator.controllers.job_schedules import JobSchedules
from server_jobs_operator.controllers.kopf_watch import watch_resources
from server_jobs_operator.launches.attendant import Attendant
from server_jobs_operator.launches.launcher import Launcher
from server_jobs_operator.launches.reconciler import Reconciler
from server_jobs_operator.resources.runner_table import place_of
from server_jobs_operator.telemetry.health import ROUND_SECONDS
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator")

MAINTENANCE_SECONDS = 1.0
FIGURES_SECONDS = 15.0
HAND_OVER_SECONDS = 10.0
PRUNE_SECONDS = 300.0

_AGAIN_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 30.0
_DEFINITIONS = "custom resources"
_RESOURCES = "Jobs and pods"


def _pause_after(failures: int, seconds: float) -> float:
    """Return how long a loop that keeps failing rests: longer each time, but not too long."""
    first = min(seconds, _AGAIN_SECONDS)
    return min(first * 2.0 ** min(failures - 1, 10), max(first, _LONGEST_PAUSE_SECONDS))


class Leader:
    """Makes the parts of one term, and runs their loops."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._launcher = Launcher(term)
        self._attendant = Attendant(term)
        self._reconciler = Reconciler(term, self._launcher, self._attendant)
        self._runners = JobRunners(term, self._launcher.refusal)
        self._default_runner = DefaultRunner(term.kube, term.settings, term.health)
        database = term.launches.database
        schedules = ScheduleStore(database)
        self._scheduler = Scheduler(schedules)
        self._schedules = JobSchedules(term.kube, schedules, term.settings, term.events)
        self._monitor = Monitor(database)
        self._news = asyncio.Event()
        term.view.subscribe(self._job_changed)

    async def run(self) -> None:
        """Leads until it is cancelled, and then waits for Jobs that are being created."""
        try:
            await self._until_usable()
            await self._until_defined()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._every(FIGURES_SECONDS, "figures", self._measure))
                tasks.create_task(self._term.view.run())
                await self._until_known()
                tasks.create_task(
                    watch_resources(
                        self._term.settings,
                        {
                            "jobrunners": self._runner_changed,
                            "jobschedules": self._schedules.changed,
                        },
                    )
                )
                tasks.create_task(self._runners.run())
                tasks.create_task(self._attendant.run())
                tasks.create_task(self._listen())
                tasks.create_task(self._claim())
                for seconds, name, work in self._loops():
                    tasks.create_task(self._every(seconds, name, work))
                tasks.create_task(self._prune())
        finally:
            self._launcher.draining = True
            await self._launcher.finish(HAND_OVER_SECONDS)
            self._term.health.forget_loops()
            for what in (_DEFINITIONS, _RESOURCES):
                self._term.health.answers(what)
            self._default_runner.forget()
            self._term.metrics.end_term()

    def _loops(self) -> list[tuple[float, str, Callable[[], Awaitable[object]]]]:
        loops: list[tuple[float, str, Callable[[], Awaitable[object]]]] = [
            (self._term.settings.lease / 3, "renew", self._launcher.renew),
            (MAINTENANCE_SECONDS, "stage", self._stage),
            (MAINTENANCE_SECONDS, "rescue", self._rescue),
            (MAINTENANCE_SECONDS, "cancellations", self._find_cancelled),
            (self._term.settings.reconcile_interval, "reconcile", self._reconcile),
        ]
        if self._term.settings.schedules:
            loops.append((MAINTENANCE_SECONDS, "schedules", self._fire))
        return loops

    # ── the loops ────────────────────────────────────────────────────────────────────────────

    async def _every(
        self, seconds: float, name: str, work: Callable[[], Awaitable[object]]
    ) -> None:
        failures = 0
        while True:
            pause = seconds
            self._term.health.beat(name, ROUND_SECONDS)
            try:
                await work()
                failures = 0
            except (DatabaseUnavailableError, KubeError) as error:
                _log.warning("%s failed, trying again: %s", name, error)
                pause = min(seconds, _AGAIN_SECONDS)
            except DatabaseError as error:
                failures += 1
                pause = _pause_after(failures, seconds)
                _log.warning("%s failed, trying again in %g s: %s", name, pause, error)
            except Exception:  # noqa: BLE001 - a loop that ends would end the operator's work
                failures += 1
                pause = _pause_after(failures, seconds)
                _log.exception("%s: an unexpected error, trying again in %g s", name, pause)
            self._term.health.beat(name, pause)
            await asyncio.sleep(pause)

    async def _claim(self) -> None:
        while True:
            pause = 60.0
            self._news.clear()
            self._term.health.beat("claim", ROUND_SECONDS)
            try:
                while await self._launcher.claim():
                    self._term.health.beat("claim", ROUND_SECONDS)
            except DatabaseError as error:
                _log.warning("claim failed, trying again: %s", error)
                pause = _AGAIN_SECONDS
            except Exception:  # noqa: BLE001 - a loop that ends would end the operator's work
                _log.exception("claim: an unexpected error, trying again")
                pause = _AGAIN_SECONDS
            self._term.health.beat("claim", pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _listen(self) -> None:
        """Wakes the claim loop whenever the table has changed, and once a poll interval anyway."""
        while True:
            self._term.health.beat("listen", self._term.settings.poll_interval + ROUND_SECONDS)
            try:
                await self._term.launches.database.wait_for_change(
                    self._term.settings.poll_interval
                )
            except DatabaseError as error:
                _log.warning("listen failed, trying again: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)
            except Exception:  # noqa: BLE001 - a loop that ends would end the operator's work
                _log.exception("listen: an unexpected error, trying again")
                await asyncio.sleep(_AGAIN_SECONDS)
            self._news.set()

    async def _stage(self) -> None:
        queues = {queue for runner in self._term.runners.serving() for queue in runner.spec.queues}
        if await self._term.launches.records.stage(sorted(queues)):
            self._news.set()

    async def _rescue(self) -> None:
        for job_id, settled in (await self._term.launches.records.rescue()).items():
            _log.warning(
                "job %s: its lease expired; it is now %s",
                job_id,
                settled.status,
                extra={"job_id": job_id},
            )
            self._news.set()

    async def _find_cancelled(self) -> None:
        for launch in (await self._term.launches.cancelled()).values():
            namespace, _ = place_of(launch.worker_id, self._term.settings.worker_prefix)
            if self._term.settings.serves(namespace):
                self._attendant.look_at(launch.claim)

    async def _fire(self) -> None:
        ticked = await self._scheduler.tick()
        if ticked.job_ids:
            self._term.metrics.fired.inc(len(ticked.job_ids))
            self._news.set()

    async def _reconcile(self) -> None:
        await self._default_runner.apply()
        await self._list_resources()
        await self._reconciler.reconcile()
        self._term.metrics.reconciled()
        await self._runners.refresh()
        await self._schedules.refresh()

    async def _list_resources(self) -> None:
        """Lists the custom resources: kopf doesn't show what was deleted while nobody watched."""
        for plural, replace in (
            ("jobrunners", self._runners.replace),
            ("jobschedules", self._schedules.replace),
        ):
            found: list[Json] = []
            for namespace in self._term.settings.namespaces or (None,):
                items, _ = await self._term.kube.list(resources_path(plural, namespace))
                found += items
            await replace(found)

    async def _measure(self) -> None:
        depth: dict[str, int] = {}
        oldest: dict[str, float] = {}
        for live in await self._monitor.live():
            if live.kind is not LiveKind.RUNNING:
                depth[live.queue] = depth.get(live.queue, 0) + live.count
            if live.kind is LiveKind.DUE:
                oldest[live.queue] = max(oldest.get(live.queue, 0.0), live.seconds)
        self._term.metrics.show_queues(depth, oldest)
        self._term.metrics.show_running(
            {runner.key: self._term.view.in_flight(*runner.key) for runner in self._term.runners}
        )

    async def _prune(self) -> None:
        await Retention(self._term.launches.records, self._term.settings.keep).run(PRUNE_SECONDS)

    # ── changes ──────────────────────────────────────────────────────────────────────────────

    def _job_changed(self, job: KnownJob) -> None:
        self._attendant.notice(job)
        if job.gone_at is not None or job.finished:
            self._news.set()  # its JobRunner has room for another one

    async def _runner_changed(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        await self._runners.changed(body, deleted=deleted)
        self._news.set()

    # ── the beginning of a term ──────────────────────────────────────────────────────────────

    async def _until_usable(self) -> None:
        said = ""
        while True:
            try:
                return await self._term.launches.records.check_schema()
            except StoreError as error:
                self._term.health.fails("database", str(error))
                if str(error) != said:
                    _log.error("the database can't be used, waiting for it: %s", error)
                said = str(error)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _until_defined(self) -> None:
        """Waits for the definitions of the custom resources: kopf looks for them only once."""
        said = ""
        while True:
            problem = await self._missing_definitions()
            if not problem:
                return self._term.health.answers(_DEFINITIONS)
            self._term.health.fails(_DEFINITIONS, problem)
            if problem != said:
                _log.error("waiting for the custom resources: %s", problem)
            said = problem
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _missing_definitions(self) -> str:
        try:
            group = await self._term.kube.get(group_path())
        except KubeError as error:
            if not error.not_found:
                return f"can't ask the API server for their definitions: {error}"
            group = {"resources": []}
        served = {resource["name"] for resource in group["resources"]}
        missing = sorted({"jobrunners", "jobschedules"} - served)
        if not missing:
            return ""
        return (
            f"the cluster doesn't know {' and '.join(missing)} of {API_VERSION}; install them:"
            " server-jobs-operator crds | kubectl apply -f -"
        )

    async def _until_known(self) -> None:
        """Waits for the first lists and reconciles once, before anything new is claimed.

        That way, the launches of an earlier leader count as in flight.
        """
        problem = "Jobs and pods haven't been listed yet; if that lasts, the log says why"
        self._term.health.fails(_RESOURCES, problem)
        await self._term.view.synced.wait()
        while True:
            try:
                await self._reconcile()
                return self._term.health.answers(_RESOURCES)
            except (DatabaseError, KubeError) as error:
                problem = f"can't compare rows and Jobs, trying again: {error}"
                _log.warning(problem)
            except Exception as error:  # noqa: BLE001 - one replica after the other would die of it
                problem = f"an unexpected error in comparing rows and Jobs: {error}"
                _log.exception("%s, trying again", problem)
            self._term.health.fails(_RESOURCES, problem)
            await asyncio.sleep(_AGAIN_SECONDS)
