"""JobSchedules: written one way into ``cron_jobs``, which alone decides what fires."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from server_jobs.errors import InvalidScheduleError, ScheduleNotFoundError
from server_jobs.schedule_store import ScheduleStore
from server_jobs.schedules import NEVER, Schedule
from server_jobs_operator.conditions import Condition, changes, updated
from server_jobs_operator.events import Recorder
from server_jobs_operator.kube import Kube, KubeError
from server_jobs_operator.names import resources_path
from server_jobs_operator.resources import JobScheduleSpec
from server_jobs_operator.settings import OperatorSettings

_log = logging.getLogger("server_jobs.operator.schedules")

PLURAL = "jobschedules"

Json = Mapping[str, Any]


class JobSchedules:
    """Keeps the table's rows like the resources, and the resources' status like the rows."""

    def __init__(
        self, kube: Kube, schedules: ScheduleStore, settings: OperatorSettings, events: Recorder
    ) -> None:
        self._kube = kube
        self._schedules = schedules
        self._settings = settings
        self._events = events
        self._bodies: dict[tuple[str, str], Json] = {}
        self._problems: dict[tuple[str, str], str] = {}
        self._unwritten: set[tuple[str, str]] = set()

    async def changed(self, body: Json, *, deleted: bool) -> None:
        """One was added, changed or deleted. Raises DatabaseError; :meth:`refresh` tries again."""
        metadata = body["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if deleted:
            self._bodies.pop(key, None)
            self._problems.pop(key, None)
            self._unwritten.discard(key)
            await self._remove(*key)
            return
        known = self._bodies.get(key)
        self._bodies[key] = body
        if known is not None and known["metadata"].get("generation") == metadata.get("generation"):
            return  # our own write of its status
        self._unwritten.add(key)
        await self._put(key)
        await self._write_status(key)

    async def refresh(self) -> None:
        """Write what couldn't be written, and what has changed of each one's status.

        Rows of resources that were deleted while nobody looked are removed. Raises DatabaseError.
        """
        for key in list(self._unwritten):
            await self._put(key)
        for schedule in await self._schedules.list_all():
            place = _place_of(schedule.managed_by)
            if place and self._settings.serves(place[0]) and place not in self._bodies:
                await self._remove(*place)
        for key in list(self._bodies):
            if not await self._write_status(key):
                return  # the others' couldn't be written either

    async def _put(self, key: tuple[str, str]) -> None:
        body = self._bodies[key]
        try:
            schedule, suspended = schedule_of(body)
            record = await self._schedules.put(schedule)
            if record.enabled is suspended:
                await self._schedules.set_enabled(record.name, not suspended)
            self._problems.pop(key, None)
        except (InvalidScheduleError, ValidationError) as error:
            self._problems[key] = _told(error)
            _log.error("JobSchedule %s/%s: %s", *key, self._problems[key])
        self._unwritten.discard(key)

    async def _remove(self, namespace: str, name: str) -> None:
        schedule = await self._schedules.find(f"{namespace}/{name}")
        if schedule is not None and schedule.managed_by == _source(namespace, name):
            try:
                await self._schedules.remove(schedule.name)
            except ScheduleNotFoundError:
                return
            _log.info("schedule %s: its JobSchedule is gone, removed", schedule.name)

    async def _write_status(self, key: tuple[str, str]) -> bool:
        """Write what has changed of it → whether the API server answers."""
        body = self._bodies.get(key)
        if body is None:
            return True
        former = body.get("status", {})
        before = former.get("conditions", ())
        generation = int(body["metadata"].get("generation") or 0)
        row = await self._schedules.find("/".join(key))
        problem = self._problems.get(key)
        if problem is not None:
            ready = Condition("Ready", False, "InvalidSchedule", problem)
        elif row is not None and row.last_decision == "broken":
            ready = Condition("Ready", False, "Broken", row.last_note or "its row can't be read")
        elif row is not None and not row.enabled:
            ready = Condition("Ready", False, "Suspended", "spec.suspend is set: nothing fires")
        else:
            ready = Condition("Ready", True, "Scheduled", "it is in the table and fires")
        conditions = updated(before, [ready], generation)
        status: dict[str, Any] = {
            "observedGeneration": generation,
            "conditions": conditions,
            "lastFireTime": _moment(row.last_run_at) if row else None,
            "nextFireTime": _moment(row.next_run_at) if row and row.enabled else None,
            "lastJobId": row.last_job_id if row else None,
            "lastDecision": row.last_decision if row else None,
        }
        if status == {name: former.get(name) for name in status}:
            return True
        try:
            written = await self._kube.patch(
                resources_path(PLURAL, *key, status=True), {"status": status}
            )
        except KubeError as error:
            if not error.not_found:
                _log.warning("JobSchedule %s/%s: its status can't be written: %s", *key, error)
            return not error.away
        for changed in changes(before, conditions):
            if changed["reason"] in _TROUBLE:
                reason, message = changed["reason"], changed["message"]
                self._events.about_resource("JobSchedule", body, reason, message)
        if key in self._bodies:
            self._bodies[key] = written
        return True


_TROUBLE = {"InvalidSchedule", "Broken"}
"""Reasons that an Event tells of when they come to be so."""


def schedule_of(body: Json) -> tuple[Schedule, bool]:
    """The schedule that a resource declares, and whether it is suspended.

    Raises ValidationError and InvalidScheduleError.
    """
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    spec = JobScheduleSpec.model_validate(body.get("spec", {}))
    runtime = spec.runtime and spec.runtime.model_dump(exclude_none=True, exclude_defaults=True)
    schedule = Schedule(
        name=f"{namespace}/{name}",
        job_name=spec.job_name,
        cron_expression=spec.schedule,
        time_zone=spec.time_zone,
        params=json.dumps(spec.params),
        queue=spec.queue,
        priority=spec.priority,
        overlap=spec.overlap,
        catchup=spec.catchup,
        catchup_window_seconds=spec.catchup_window_seconds,
        catchup_limit=spec.catchup_limit,
        jitter_seconds=spec.jitter_seconds,
        starts_at=spec.starts_at,
        ends_at=spec.ends_at,
        max_attempts=spec.max_attempts,
        timeout_seconds=spec.timeout_seconds,
        retry_policy=json.dumps(spec.retry_policy.model_dump()) if spec.retry_policy else None,
        runtime=json.dumps(runtime) if runtime else None,
        managed_by=_source(namespace, name),
        enabled=not spec.suspend,
    )
    schedule.check()
    return schedule, spec.suspend


def _source(namespace: str, name: str) -> str:
    return f"crd:{namespace}/{name}"


def _place_of(managed_by: str) -> tuple[str, str] | None:
    kind, _, place = managed_by.partition(":")
    namespace, slash, name = place.partition("/")
    return (namespace, name) if kind == "crd" and slash else None


def _moment(moment: datetime | None) -> str | None:
    if moment is None or moment == NEVER:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _told(error: InvalidScheduleError | ValidationError) -> str:
    if isinstance(error, InvalidScheduleError):
        return str(error)
    return "; ".join(
        f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()
    )
