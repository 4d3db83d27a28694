"""Attending to launches: whatever changes about a Job is judged by its row, and acted upon."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from server_jobs.errors import DatabaseError
from server_jobs.launch_store import LaunchStore
from server_jobs.launches import Launch
from server_jobs.outcomes import Outcome
from server_jobs.records import Lease
from server_jobs.schema import JobStatus
from server_jobs_operator.events import Recorder
from server_jobs_operator.jobs_view import JobsView, KnownJob
from server_jobs_operator.judging import Judgement, judge
from server_jobs_operator.kube import Kube, KubeError
from server_jobs_operator.metrics import Metrics
from server_jobs_operator.names import jobs_path
from server_jobs_operator.runner_table import RunnerTable, place_of

_log = logging.getLogger("server_jobs.operator.attend")

GATHER_SECONDS = 0.05
"""Changes come in crowds: those that come within this are judged together."""

AGAIN_SECONDS = 5.0
_MOST_AT_ONCE = 200


class Attendant:
    """Takes note of changes, and acts on them in batches."""

    def __init__(
        self,
        kube: Kube,
        launches: LaunchStore,
        view: JobsView,
        runners: RunnerTable,
        metrics: Metrics,
        events: Recorder,
    ) -> None:
        self._kube = kube
        self._launches = launches
        self._view = view
        self._runners = runners
        self._metrics = metrics
        self._events = events
        self._due: dict[Lease, float] = {}
        self._gone: dict[Lease, KnownJob] = {}
        self._missing: dict[Lease, float] = {}
        self._news = asyncio.Event()

    def notice(self, job: KnownJob, gone: bool) -> None:
        """A Job has changed, or is gone."""
        if gone:
            job.gone_at = time.monotonic()
            self._gone[job.lease] = job
        self.look_at(job.lease)

    def look_at(self, lease: Lease, after: float = 0.0) -> None:
        """Judge a launch, after so many seconds or as soon as it is due anyway."""
        moment = time.monotonic() + after
        if moment < self._due.get(lease, float("inf")):
            self._due[lease] = moment
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait()
            now = time.monotonic()
            due = [lease for lease, moment in self._due.items() if moment <= now][:_MOST_AT_ONCE]
            for lease in due:
                del self._due[lease]
            try:
                await self.attend(due)
            except (KubeError, DatabaseError) as error:
                _log.warning("%d launches have to wait: %s", len(due), error)
                for lease in due:
                    self.look_at(lease, AGAIN_SECONDS)

    async def _wait(self) -> None:
        while True:
            self._news.clear()
            left = min(self._due.values(), default=float("inf")) - time.monotonic()
            if left <= 0:
                await asyncio.sleep(GATHER_SECONDS)
                return
            try:
                async with asyncio.timeout(None if left == float("inf") else left):
                    await self._news.wait()
            except TimeoutError:
                return

    async def attend(self, leases: Iterable[Lease]) -> None:
        """Judge these launches and act. Raises DatabaseError and KubeError."""
        wanted = list(leases)
        # Known before the rows are read: a runner settles its record before its pod ends.
        jobs = {lease: self._view.of(lease) or self._gone.get(lease) for lease in wanted}
        gone = {lease for lease in wanted if self._view.of(lease) is None}
        rows = await self._launches.read({lease.job_id for lease in wanted})
        now = await self._launches.records.clock()
        judged: list[tuple[Lease, KnownJob | None, Judgement]] = []
        for lease in wanted:
            known, launch = jobs[lease], rows.get(lease.job_id)
            if lease in gone and launch is not None and launch.lease != lease:
                self._gone.pop(lease, None)
                continue
            runner = self._runners.get(*self._place_of(known, launch))
            spec = runner.spec if runner else None
            moment = time.monotonic()
            self._note_settled(known, launch, moment)
            # A Job that is gone may still say what was wrong with it.
            judgement = judge(
                known,
                launch,
                spec,
                now=now,
                moment=moment,
                gone=lease in gone,
                missing_since=self._missing.setdefault(lease, moment) if known is None else None,
            )
            judged.append((lease, known, judgement))
        await self._write(judged)
        for lease, known, judgement in judged:
            await self._act(lease, known, judgement, gone=lease in gone)

    def _place_of(self, known: KnownJob | None, launch: Launch | None) -> tuple[str, str]:
        if known is not None:
            return known.namespace, known.runner
        return place_of(launch.worker_id if launch else None, self._launches.prefix)

    def _note_settled(self, known: KnownJob | None, launch: Launch | None, moment: float) -> None:
        running = launch is not None and launch.status is JobStatus.RUNNING
        if known is not None and not running and known.settled_at is None:
            known.settled_at = moment

    async def _write(self, judged: list[tuple[Lease, KnownJob | None, Judgement]]) -> None:
        outcomes: dict[Lease, Outcome] = {
            lease: judgement.outcome for lease, _, judgement in judged if judgement.outcome
        }
        if not outcomes:
            return
        settled = await self._launches.records.settle(outcomes)
        for lease, known, judgement in judged:
            if judgement.outcome is None:
                continue
            accepted = settled.get(lease.job_id)
            if accepted is None:
                self.look_at(lease)  # its runner was faster, or it has begun meanwhile
                continue
            if judgement.reason is not None:
                self._metrics.reasons.labels(str(judgement.reason)).inc()
            error = getattr(judgement.outcome, "error", None)
            text = error.message if error else str(getattr(judgement.outcome, "reason", ""))
            _log.warning(
                "job %s: %s; it is %s now",
                lease.job_id,
                text,
                accepted.status,
                extra={
                    "job_id": lease.job_id,
                    "fence": lease.fence,
                    "reason": str(judgement.reason or ""),
                    "kubernetes_job": known.name if known else "",
                },
            )
            if known is not None and judgement.reason is not None:
                self._events.about_job(known, str(judgement.reason), text)

    async def _act(
        self, lease: Lease, known: KnownJob | None, judgement: Judgement, *, gone: bool
    ) -> None:
        if gone or known is None:
            if judgement.again is None:
                self._gone.pop(lease, None)
                self._missing.pop(lease, None)
            else:
                self.look_at(lease, judgement.again)
            return
        self._missing.pop(lease, None)
        if judgement.delete and not known.deleting:
            await self._kube.delete(jobs_path(known.namespace, known.name), known.uid)
        elif judgement.expire and not known.expiring:
            await self._expire(known)
        if judgement.again is not None:
            self.look_at(lease, judgement.again)

    async def _expire(self, known: KnownJob) -> None:
        """Let the cluster remove a Job that is over, after the runner's time to live."""
        runner = self._runners.get(known.namespace, known.runner)
        if runner is not None:
            seconds = runner.spec.ttl_seconds_after_finished
            if known.job["spec"].get("ttlSecondsAfterFinished") != seconds:
                await self._set_time_to_live(known, seconds)
        known.keep_no_details()

    async def _set_time_to_live(self, known: KnownJob, seconds: int) -> None:
        try:
            await self._kube.patch(
                jobs_path(known.namespace, known.name),
                {"spec": {"ttlSecondsAfterFinished": seconds}},
            )
        except KubeError as error:
            if not error.not_found:
                raise
