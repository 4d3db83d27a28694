"""Writes Events on Jobs, JobRunners and JobSchedules, which ``kubectl describe`` shows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from server_jobs.records.ids import random_suffix
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.kube import Json, Kube, KubeError
from server_jobs_operator.cluster.names import API_VERSION, events_path
from server_jobs_operator.cluster.reasons import Finding
from server_jobs_operator.resources.runner_table import JobRunner

_log = logging.getLogger("server_jobs.operator.events")

COMPONENT = "server-jobs-operator"
SAME_AGAIN_SECONDS = 600.0
"""The same Event about the same object is written at most once in this time."""

_LONGEST = 1_000
_MOST_KEPT = 5_000


class Recorder:
    """Writes Events in the background. No caller waits for one, and a lost one does no harm."""

    def __init__(self, kube: Kube, identity: str) -> None:
        self._kube = kube
        self._identity = identity
        self._tasks: set[asyncio.Task[None]] = set()
        self._written: dict[tuple[str, str, str], float] = {}

    def about_job(self, job: KnownJob, reason: str, message: str) -> None:
        """Writes on a Kubernetes Job why its launch went wrong."""
        about = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
        }
        self._write(about, _camel(reason), message, "Warning")

    def about_runner(
        self,
        runner: JobRunner,
        reason: str,
        message: str,
        kind: Literal["Normal", "Warning"] = "Warning",
    ) -> None:
        """Writes an Event on a JobRunner."""
        about = {
            "apiVersion": API_VERSION,
            "kind": "JobRunner",
            "namespace": runner.namespace,
            "name": runner.name,
            "uid": runner.uid,
        }
        self._write(about, reason, message, kind)

    def about_launch(self, runner: JobRunner, found: Finding) -> None:
        """Writes on a JobRunner why a launch has no Kubernetes Job."""
        self.about_runner(runner, _camel(str(found.reason)), found.text)

    def about_resource(self, kind: str, body: Mapping[str, Any], reason: str, message: str) -> None:
        """Writes a warning on a JobRunner or JobSchedule, given as its body."""
        metadata = body["metadata"]
        about = {"apiVersion": API_VERSION, "kind": kind}
        about |= {name: metadata[name] for name in ("namespace", "name", "uid")}
        self._write(about, reason, message, "Warning")

    def _write(self, about: Json, reason: str, message: str, kind: str) -> None:
        if self._was_written(about["uid"], reason, message):
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about['name'][:180]}.{random_suffix(12)}"},
            "involvedObject": about,
            "reason": reason,
            "message": message[:_LONGEST],
            "type": kind,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        task = asyncio.create_task(self._post(about["namespace"], event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _was_written(self, uid: str, reason: str, message: str) -> bool:
        what, now = (uid, reason, message), time.monotonic()
        if now - self._written.get(what, float("-inf")) < SAME_AGAIN_SECONDS:
            return True
        if len(self._written) >= _MOST_KEPT:
            self._written.clear()
        self._written[what] = now
        return False

    async def _post(self, namespace: str, event: Json) -> None:
        try:
            await self._kube.create(events_path(namespace), event)
        except KubeError as error:
            _log.info("can't write an Event: %s", error)


def _camel(reason: str) -> str:
    return "".join(word.capitalize() for word in reason.split("_"))
