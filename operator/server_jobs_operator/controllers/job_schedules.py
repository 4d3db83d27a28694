"""Serves JobSchedules: writes each into ``cron_jobs``, and its status from there.

Nothing goes the other way: the table alone decides what fires, and no row is written into a spec.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from server_jobs.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    InvalidScheduleError,
    ScheduleNotFoundError,
)
from server_jobs.schedules.schedule import NEVER, Schedule, ScheduleRecord
from server_jobs.schedules.store import ScheduleStore
from server_jobs_operator.cluster.kube import Kube, KubeError
from server_jobs_operator.cluster.names import resources_path
from server_jobs_operator.cluster.namespaces import Namespace
from server_jobs_operator.cluster.versions import Json
from server_jobs_operator.resources.conditions import Condition, changes, updated
from server_jobs_operator.resources.known import KnownResources, generation_of, key_of
from server_jobs_operator.resources.specs import JobScheduleSpec, problems_of
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.events import Recorder

_log = logging.getLogger("server_jobs.operator.schedules")

PLURAL = "jobschedules"


class JobSchedules:
    """Keeps a row of ``cron_jobs`` for each JobSchedule, and the status of each."""

    def __init__(
        self, kube: Kube, schedules: ScheduleStore, settings: OperatorSettings, events: Recorder
    ) -> None:
        self._kube = kube
        self._schedules = schedules
        self._settings = settings
        self._events = events
        self._known = KnownResources()
        self._problems: dict[tuple[str, str], str] = {}
        self._unwritten: set[tuple[str, str]] = set()

    async def changed(self, body: Json, *, deleted: bool) -> None:
        """Writes or removes a row: the JobSchedule was added or changed, or ``deleted``.

        Raises DatabaseError; then :meth:`refresh` tries again.
        """
        key = key_of(body)
        if deleted:
            self._known.drop(key)
            self._problems.pop(key, None)
            self._unwritten.discard(key)
            await self._remove(*key)
            return
        if not self._known.take(body):
            return
        self._unwritten.add(key)
        row = await self._put(key)
        if row is None:
            row = await self._schedules.find("/".join(key))
        await self._write_status(key, row)

    async def replace(self, bodies: Sequence[Json], namespace: Namespace) -> None:
        """Writes and removes rows by a complete list of a namespace's JobSchedules.

        Raises DatabaseError.
        """
        await self._known.replace(bodies, namespace, self.changed)

    async def refresh(self) -> None:
        """Writes rows that are missing or couldn't be written, and each status that has changed.

        It also removes the rows of JobSchedules that were deleted while no operator ran. Raises
        DatabaseUnavailableError. Any other error with one JobSchedule doesn't stop the others.
        """
        rows = {row.name: row for row in await self._schedules.list_all()}
        api_answers = True
        for key in self._known:
            name = "/".join(key)
            try:
                if key in self._unwritten or not _is_ours(rows.get(name), key):
                    row = await self._put(key)
                    rows |= {name: row} if row is not None else {}
                # If the API server doesn't answer for one, the others aren't tried in this round.
                api_answers = api_answers and await self._write_status(key, rows.get(name))
            except DatabaseUnavailableError:
                raise
            except Exception:  # noqa: BLE001 - one resource never stops the others
                _log.exception("JobSchedule %s: an unexpected error, trying again", name)
        for row in rows.values():
            place = _place_of(row.managed_by)
            if place and self._settings.serves(place[0]) and self._known.is_gone(place):
                try:
                    await self._remove(*place)
                except DatabaseUnavailableError:
                    raise
                except DatabaseError as error:
                    _log.error("can't remove schedule %s, trying again: %s", row.name, error)

    async def _put(self, key: tuple[str, str]) -> ScheduleRecord | None:
        """Writes the row of a JobSchedule → the row, or None if its spec is invalid."""
        while (body := self._known.get(key)) is not None:
            row, problem = None, ""
            try:
                schedule, suspended = schedule_of(body)
                row = await self._schedules.put(schedule)
                if row.enabled is suspended:
                    row = await self._schedules.set_enabled(row.name, not suspended)
            except (InvalidScheduleError, ValidationError, DataRefusedError) as error:
                problem = _told(error)
            except ScheduleNotFoundError:
                continue  # somebody removed the row between our two statements
            known = self._known.get(key)
            if known is not None and generation_of(known) == generation_of(body):
                self._has_put(key, problem)
                return row
        # The JobSchedule was deleted while its row was being written.
        await self._remove(*key)
        return None

    def _has_put(self, key: tuple[str, str], problem: str) -> None:
        self._unwritten.discard(key)
        if problem and problem != self._problems.get(key):
            _log.error("JobSchedule %s/%s: %s", *key, problem)
        if problem:
            self._problems[key] = problem
        else:
            self._problems.pop(key, None)

    async def _remove(self, namespace: str, name: str) -> None:
        schedule = await self._schedules.find(f"{namespace}/{name}")
        if schedule is not None and schedule.managed_by == _source(namespace, name):
            try:
                await self._schedules.remove(schedule.name)
            except ScheduleNotFoundError:
                return
            _log.info("schedule %s removed, since its JobSchedule was deleted", schedule.name)

    async def _write_status(self, key: tuple[str, str], row: ScheduleRecord | None) -> bool:
        """Writes a status if it has changed → whether the API server answers."""
        body = self._known.get(key)
        if body is None:
            return True
        if not _is_ours(row, key):
            row = None
        former = body.get("status", {})
        before = former.get("conditions", ())
        generation = generation_of(body)
        conditions = updated(before, [_ready(row, self._problems.get(key))], generation)
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
                _log.warning("JobSchedule %s/%s: can't write its status: %s", *key, error)
            return not error.away
        for changed in changes(before, conditions):
            if changed["reason"] in _TROUBLE:
                reason, message = changed["reason"], changed["message"]
                self._events.about_resource("JobSchedule", body, reason, message)
        self._known.answer(written)
        return True


_TROUBLE = {"InvalidSchedule", "Broken", "Missing"}
"""Reasons about which an Event is written when they appear."""


def schedule_of(body: Json) -> tuple[Schedule, bool]:
    """The schedule that a JobSchedule declares → (schedule, whether it is suspended).

    Raises ValidationError or InvalidScheduleError.
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


def _ready(row: ScheduleRecord | None, problem: str | None) -> Condition:
    if problem is not None:
        goes_on = row is not None and row.enabled
        text = f"{problem}; until that is fixed, the last valid version goes on firing"
        return Condition("Ready", False, "InvalidSchedule", text if goes_on else problem)
    if row is None:
        text = "it isn't in the table, so it doesn't fire; the operator keeps trying to add it"
        return Condition("Ready", False, "Missing", text)
    if row.last_decision == "broken":
        return Condition("Ready", False, "Broken", row.last_note or "its row can't be read")
    if not row.enabled:
        return Condition("Ready", False, "Suspended", "spec.suspend is set, so it doesn't fire")
    return Condition("Ready", True, "Scheduled", "it is in the table and fires")


def _is_ours(row: ScheduleRecord | None, key: tuple[str, str]) -> bool:
    return row is not None and row.managed_by == _source(*key)


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


def _told(error: Exception) -> str:
    return problems_of(error) if isinstance(error, ValidationError) else str(error)
