"""The Kubernetes Jobs of the installation and their pods, kept up to date by watches.

Only the fields that the operator uses are kept (``trim``). What is wrong with a Job is noted as
soon as it shows, since its pod may be gone a moment later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.kube import Json, Kube, KubeError
from server_jobs_operator.cluster.names import FENCE, INSTALL, JOB_ID, RUNNER, jobs_path, pods_path
from server_jobs_operator.cluster.namespaces import Namespace, Namespaces
from server_jobs_operator.cluster.trim import trimmed_job, trimmed_pod
from server_jobs_operator.cluster.versions import is_older

_log = logging.getLogger("server_jobs.operator.watch")

LONGEST_PAUSE_SECONDS = 30.0
SHORTEST_WATCH_SECONDS = 1.0
"""A watch that ends sooner counts as failed, even if the server reported no error."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list request whose answer hasn't arrived yet.

    The answer shows the cluster at some moment after the request. These two fields say which
    differences between it and the view come from what happened meanwhile.
    """

    known: frozenset[str]
    """Uids of the Jobs that were known at the request. Later ones may be missing on the list."""
    gone: set[str] = field(default_factory=set)
    """Uids of the Jobs that were deleted since the request. They may still be on the list."""


class JobsView:
    """Every Kubernetes Job of one installation. :meth:`run` keeps it up to date.

    ``namespaces`` is told of those whose Jobs or pods can't be read. ``synced`` is set once the
    Jobs and pods of each namespace have been listed, or couldn't be.
    """

    def __init__(
        self,
        kube: Kube,
        namespaces: Namespaces,
        install_id: str,
    ) -> None:
        self._kube = kube
        self._namespaces = namespaces
        self._selector = f"{INSTALL}={install_id}"
        self._listeners: list[Callable[[KnownJob], None]] = []
        self._jobs: dict[str, KnownJob] = {}
        self._by_claim: dict[Claim, KnownJob] = {}
        self._early_pods: dict[str, dict[str, Json]] = {}
        self._tried: set[tuple[str, Namespace]] = set()
        self._listed: set[Namespace] = set()
        self._listings: list[Listing] = []
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self.synced = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[KnownJob]:
        return iter(list(self._jobs.values()))

    def of(self, claim: Claim) -> KnownJob | None:
        """The Job of a launch → None if there is none."""
        return self._by_claim.get(claim)

    def in_flight(self, namespace: str | None = None, runner: str | None = None) -> int:
        """How many Jobs haven't finished: those of one JobRunner, or all of them."""
        if namespace is None or runner is None:
            return self._in_flight.total()
        return self._in_flight[namespace, runner]

    def knows(self, namespace: str) -> bool:
        """Whether the Jobs of a namespace have been listed, so that all of them are counted."""
        return not self._listed.isdisjoint({namespace, None})

    def subscribe(self, listener: Callable[[KnownJob], None]) -> None:
        """Calls ``listener`` with each Job that changes or is deleted, from now on."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Lists and watches Jobs and pods until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._namespaces:
                tasks.create_task(self._follow("jobs", namespace))
                tasks.create_task(self._follow("pods", namespace))

    async def relist(self, namespace: Namespace) -> list[KnownJob]:
        """Lists the Jobs of a namespace, or of all → the Jobs that exist now.

        The answer is consistent: it comes from the API server's storage and not from a cache.
        Raises KubeError, and then changes nothing.
        """
        with self._listing() as listing:
            items, _ = await self._kube.list(jobs_path(namespace), self._selector, trimmed_job)
        self._replace_jobs(namespace, items, listing)
        return [job for job in self if namespace is None or job.namespace == namespace]

    def add(self, created: Json) -> None:
        """Adds a Job that was created just now, before the watch shows it."""
        self._job_changed("ADDED", trimmed_job(created))

    async def _follow(self, kind: str, namespace: Namespace) -> None:
        path = jobs_path(namespace) if kind == "jobs" else pods_path(namespace)
        changed = self._job_changed if kind == "jobs" else self._pod_changed
        replace = self._replace_jobs if kind == "jobs" else self._replace_pods
        trimmed = trimmed_job if kind == "jobs" else trimmed_pod
        version, pause = "", 0.0
        while True:
            try:
                if not version:
                    with self._listing() as listing:
                        items, version = await self._kube.list(path, self._selector, trimmed)
                    replace(namespace, items, listing)
                    self._namespaces.answers(namespace, kind)
                    self._has_tried(kind, namespace)
                began = time.monotonic()
                async for change, item in self._kube.watch(path, self._selector, version):
                    pause = 0.0
                    version = item["metadata"]["resourceVersion"]
                    if change != "BOOKMARK":
                        changed(change, trimmed(item))
                if time.monotonic() - began >= SHORTEST_WATCH_SECONDS:
                    continue
                why = "the server ended the watch immediately"
            except KubeError as error:
                why = str(error)
                if not error.away:
                    version = ""
                self._namespaces.fails(namespace, kind, why)
            except Exception as error:  # noqa: BLE001 - one odd object never ends the watch
                why, version = f"{type(error).__name__}: {error}", ""
                self._namespaces.fails(namespace, kind, why)
                _log.exception("an unexpected error in watching %s", kind)
            # For every kind of failure: asking again immediately doesn't help a server in trouble.
            pause = min(max(2 * pause, 0.5), LONGEST_PAUSE_SECONDS)
            where = f"{kind} in {namespace}" if namespace else kind
            _log.warning("can't watch %s, trying again in %.1f s: %s", where, pause, why)
            self._has_tried(kind, namespace)
            await asyncio.sleep(pause)

    @contextmanager
    def _listing(self) -> Iterator[Listing]:
        listing = Listing(frozenset(self._jobs))
        self._listings.append(listing)
        try:
            yield listing
        finally:
            self._listings.remove(listing)

    def _has_tried(self, kind: str, namespace: Namespace) -> None:
        self._tried.add((kind, namespace))
        if len(self._tried) == 2 * len(self._namespaces):
            self.synced.set()

    # ── changes ──────────────────────────────────────────────────────────────────────────────

    def _replace_jobs(self, namespace: Namespace, items: list[Json], listing: Listing) -> None:
        self._listed.add(namespace)
        gone = listing.known - {item["metadata"]["uid"] for item in items}
        for job in self:
            if job.uid in gone and namespace in {None, job.namespace}:
                self._forget(job)
        for item in items:
            if item["metadata"]["uid"] not in listing.gone:
                self._job_changed("ADDED", item)

    def _replace_pods(self, namespace: Namespace, items: list[Json], listing: Listing) -> None:
        found = {item["metadata"]["uid"] for item in items}
        for job in self:
            if job.uid in listing.known and namespace in {None, job.namespace}:
                job.keep_pods(found)
        for item in items:
            self._pod_changed("ADDED", item)

    def _job_changed(self, change: str, item: Json) -> None:
        metadata = item["metadata"]
        uid = metadata["uid"]
        job = self._jobs.get(uid)
        if change == "DELETED":
            if job is None:
                self._is_gone(uid)
            else:
                self._forget(job)
            return
        if job is not None and is_older(item, job.body):
            return  # from a list that was requested before the watch showed the newer version
        if job is None:
            labels = metadata.pop("labels")  # from here on the claim says the same
            try:
                claim = Claim(labels[JOB_ID], int(labels[FENCE]))
            except (KeyError, ValueError):
                text = "Job %s has this installation's label but no job id and fence; ignoring it"
                _log.warning(text, metadata["name"])
                return
            early_pods = self._early_pods.pop(uid, {})
            job = KnownJob(claim, labels.get(RUNNER, ""), item, early_pods)
            self._jobs[uid] = self._by_claim[claim] = job
        else:
            self._in_flight[job.namespace, job.runner] -= not job.finished
            metadata.pop("labels")
            job.change(item)
        self._in_flight[job.namespace, job.runner] += not job.finished
        self._look_at(job)

    def _pod_changed(self, change: str, item: Json) -> None:
        owners = item["metadata"].get("ownerReferences", ())
        owner = next((owner["uid"] for owner in owners if owner["kind"] == "Job"), None)
        if owner is None:
            return
        uid = item["metadata"]["uid"]
        job = self._jobs.get(owner)
        if job is None:
            pods = self._early_pods.setdefault(owner, {})
            pods[uid] = item
            if change == "DELETED":
                del pods[uid]
                if not pods:
                    del self._early_pods[owner]
            return
        # The last state of a deleted pod often says why it was deleted.
        if job.add_pod(item):
            self._look_at(job)
        if change == "DELETED":
            job.drop_pod(uid)

    def _look_at(self, job: KnownJob) -> None:
        job.examine(time.monotonic())
        self._tell(job)

    def _is_gone(self, uid: str) -> None:
        for listing in self._listings:
            listing.gone.add(uid)

    def _forget(self, job: KnownJob) -> None:
        self._is_gone(job.uid)
        del self._jobs[job.uid]
        self._in_flight[job.namespace, job.runner] -= not job.finished
        if self._by_claim.get(job.claim) is job:
            del self._by_claim[job.claim]
        self._early_pods.pop(job.uid, None)
        job.vanish(time.monotonic())
        self._tell(job)

    def _tell(self, job: KnownJob) -> None:
        for listener in self._listeners:
            listener(job)
