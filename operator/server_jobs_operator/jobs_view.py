"""The Kubernetes Jobs of the installation and their pods, as the API server tells of them.

Of each object only what is looked at is kept. What is wrong with a Job is noted as it appears,
since its pod may be gone a moment later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from server_jobs.records import Lease
from server_jobs_operator.kube import Json, Kube, KubeError
from server_jobs_operator.names import FENCE, INSTALL, JOB_ID, RUNNER, jobs_path, pods_path
from server_jobs_operator.reasons import Finding, finding

_log = logging.getLogger("server_jobs.operator.watch")

LONGEST_PAUSE_SECONDS = 30.0

FIRST_TTL_SECONDS = 86_400
"""How long a Job is kept whose record isn't known to be settled."""


@dataclass(slots=True)
class KnownJob:
    """A Kubernetes Job of ours."""

    namespace: str
    name: str
    uid: str
    lease: Lease
    runner: str
    job: Json
    """Metadata, some of ``spec`` and ``status.conditions`` alone."""
    pods: dict[str, Json] = field(default_factory=dict)
    """By uid: metadata, phase, conditions and container states alone."""
    finding: Finding | None = None
    """What is wrong with it, if anything."""
    finding_since: float = 0.0
    resumed_at: float | None = None
    """When it was last resumed; None if it never was suspended."""
    settled_at: float | None = None
    """Since when its record is known to be settled."""
    gone_at: float | None = None
    """Since when it is known to be deleted."""
    expiring: bool = False
    """Its time to live is what the runner says."""
    told: bool = False
    """How it went wrong has been counted and told, or it didn't."""

    @property
    def finished(self) -> bool:
        """Whether it is complete or has failed: no pod of it runs, or will."""
        return any(
            condition["type"] in {"Complete", "Failed"} and condition["status"] == "True"
            for condition in self.job["status"].get("conditions", ())
        )

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.job["metadata"]

    @property
    def suspended(self) -> bool:
        return bool(self.job["spec"].get("suspend"))

    @property
    def pod_name(self) -> str | None:
        """Its last pod's, if any is known."""
        names = [pod["metadata"]["name"] for pod in self.pods.values()]
        return names[-1] if names else None


class JobsView:
    """Kept up to date by :meth:`run`; ``on_change`` is told of each Job that has changed."""

    def __init__(
        self,
        kube: Kube,
        namespaces: tuple[str, ...] | None,
        install_id: str,
        on_change: Callable[[KnownJob, bool], None],
    ) -> None:
        self._kube = kube
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._selector = f"{INSTALL}={install_id}"
        self._on_change = on_change
        self._jobs: dict[str, KnownJob] = {}
        self._by_lease: dict[Lease, KnownJob] = {}
        self._early_pods: dict[str, dict[str, Json]] = {}
        self._listed: set[tuple[str, str | None]] = set()
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self.synced = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[KnownJob]:
        return iter(list(self._jobs.values()))

    def of(self, lease: Lease) -> KnownJob | None:
        """The Job of a launch."""
        return self._by_lease.get(lease)

    def in_flight(self, namespace: str | None = None, runner: str | None = None) -> int:
        """How many haven't finished, of one runner or in all."""
        if namespace is None or runner is None:
            return self._in_flight.total()
        return self._in_flight[namespace, runner]

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._namespaces:
                tasks.create_task(self._follow("jobs", namespace))
                tasks.create_task(self._follow("pods", namespace))

    async def relist(self, namespace: str | None) -> list[KnownJob]:
        """The Jobs that there are now, consistently. Raises KubeError."""
        known = set(self._jobs)
        items, _ = await self._kube.list(jobs_path(namespace), self._selector, _trimmed_job)
        self._replace_jobs(namespace, items, known)
        return [job for job in self if namespace is None or job.namespace == namespace]

    def add(self, created: Json) -> None:
        """A Job that was created just now, before the watch tells of it."""
        self._job_changed("ADDED", _trimmed_job(created))

    async def _follow(self, kind: str, namespace: str | None) -> None:
        path = jobs_path(namespace) if kind == "jobs" else pods_path(namespace)
        changed = self._job_changed if kind == "jobs" else self._pod_changed
        replace = self._replace_jobs if kind == "jobs" else self._replace_pods
        trimmed = _trimmed_job if kind == "jobs" else _trimmed_pod
        version, pause = "", 0.0
        while True:
            try:
                if not version:
                    known = set(self._jobs)
                    items, version = await self._kube.list(path, self._selector, trimmed)
                    replace(namespace, items, known)
                    self._has_listed(kind, namespace)
                async for change, item in self._kube.watch(path, self._selector, version):
                    version = item["metadata"]["resourceVersion"]
                    if change != "BOOKMARK":
                        changed(change, trimmed(item))
                pause = 0.0
            except KubeError as error:
                if error.status == 410:
                    version = ""
                    continue
                pause = min(max(2 * pause, 0.5), LONGEST_PAUSE_SECONDS)
                if not error.away:
                    version = ""
                _log.warning("%s can't be watched, again in %.1f s: %s", kind, pause, error)
                await asyncio.sleep(pause)

    def _has_listed(self, kind: str, namespace: str | None) -> None:
        self._listed.add((kind, namespace))
        if len(self._listed) == 2 * len(self._namespaces):
            self.synced.set()

    # ── what has changed ─────────────────────────────────────────────────────────────────────

    def _replace_jobs(self, namespace: str | None, items: list[Json], known: set[str]) -> None:
        """``known`` were known before the list was asked for: what came since may not be on it."""
        gone = known - {item["metadata"]["uid"] for item in items}
        for job in self:
            if job.uid in gone and namespace in {None, job.namespace}:
                self._forget(job)
        for item in items:
            self._job_changed("ADDED", item)

    def _replace_pods(self, namespace: str | None, items: list[Json], known: set[str]) -> None:
        found = {item["metadata"]["uid"] for item in items}
        for job in self:
            if job.uid in known and namespace in {None, job.namespace}:
                for uid in job.pods.keys() - found:
                    del job.pods[uid]
        for item in items:
            self._pod_changed("ADDED", item)

    def _job_changed(self, change: str, item: Json) -> None:
        metadata = item["metadata"]
        uid = metadata["uid"]
        job = self._jobs.get(uid)
        if change == "DELETED":
            if job is not None:
                self._forget(job)
            return
        if job is None:
            labels = metadata.pop("labels")  # said by the lease from here on
            try:
                lease = Lease(labels[JOB_ID], int(labels[FENCE]))
            except (KeyError, ValueError):
                _log.warning("Job %s has our label and no job's: left alone", metadata["name"])
                return
            job = KnownJob(
                metadata["namespace"],
                metadata["name"],
                uid,
                lease,
                labels.get(RUNNER, ""),
                item,
                self._early_pods.pop(uid, {}),
            )
            # An earlier leader has seen to the end of one whose time to live has been changed.
            job.told = item["spec"]["ttl"] not in {None, FIRST_TTL_SECONDS}
            self._jobs[uid] = self._by_lease[lease] = job
        else:
            if job.suspended and not item["spec"]["suspend"]:
                job.resumed_at = time.monotonic()
            self._in_flight[job.namespace, job.runner] -= not job.finished
            metadata.pop("labels")
            job.job = item
        self._in_flight[job.namespace, job.runner] += not job.finished
        self._look_at(job)

    def _pod_changed(self, change: str, item: Json) -> None:
        owners = item["metadata"].get("ownerReferences", ())
        owner = next((owner["uid"] for owner in owners if owner["kind"] == "Job"), None)
        if owner is None:
            return
        job = self._jobs.get(owner)
        pods = job.pods if job is not None else self._early_pods.setdefault(owner, {})
        # A pod that is deleted says, in its last state, why.
        pods[item["metadata"]["uid"]] = item
        if job is not None:
            self._look_at(job)
        if change == "DELETED":
            pods.pop(item["metadata"]["uid"], None)
            if job is None and not pods:
                self._early_pods.pop(owner, None)

    def _look_at(self, job: KnownJob) -> None:
        found = finding(job.job, list(job.pods.values()))
        if found is not None and not (job.finding and job.finding.final):
            if job.finding is None or job.finding.reason is not found.reason:
                job.finding_since = time.monotonic()
            job.finding = found
        elif found is None and job.finding is not None and not job.finding.final:
            job.finding = None  # it was waiting for something, which has come
        self._on_change(job, False)

    def _forget(self, job: KnownJob) -> None:
        del self._jobs[job.uid]
        self._in_flight[job.namespace, job.runner] -= not job.finished
        if self._by_lease.get(job.lease) is job:
            del self._by_lease[job.lease]
        self._early_pods.pop(job.uid, None)
        self._on_change(job, True)


def _trimmed_job(item: Json) -> Json:
    kept = ("name", "namespace", "uid", "deletionTimestamp")
    metadata = {name: item["metadata"][name] for name in kept if name in item["metadata"]}
    labels = item["metadata"].get("labels") or {}
    metadata["labels"] = {n: labels[n] for n in (JOB_ID, FENCE, RUNNER) if n in labels}
    conditions = [
        {name: condition.get(name) for name in ("type", "status", "reason", "message")}
        for condition in item.get("status", {}).get("conditions", ())
    ]
    spec = item.get("spec", {})
    return {
        "metadata": metadata,
        "spec": {
            "suspend": spec.get("suspend", False),
            "ttl": spec.get("ttlSecondsAfterFinished"),
        },
        "status": {"conditions": conditions},
    }


def _trimmed_pod(item: Json) -> Json:
    kept = ("name", "uid", "deletionTimestamp")
    metadata = {name: item["metadata"][name] for name in kept if name in item["metadata"]}
    owners = item["metadata"].get("ownerReferences") or ()
    metadata["ownerReferences"] = [{n: owner[n] for n in ("kind", "uid")} for owner in owners]
    status = item.get("status", {})
    shown = (
        "phase",
        "reason",
        "message",
        "conditions",
        "containerStatuses",
        "initContainerStatuses",
    )
    return {"metadata": metadata, "status": {n: status[n] for n in shown if n in status}}
