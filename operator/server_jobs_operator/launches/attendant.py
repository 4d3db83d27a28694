"""Attends to launches: reads the row of each Job that has changed, has it judged, and acts on that.

``judge`` decides. The attendant reads the rows in batches, writes the outcomes into them, tells
people what went wrong, and deletes Jobs or gives them their time to live.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from server_jobs.errors import DatabaseError, DataRefusedError
from server_jobs.launches.launch import Launch
from server_jobs.records.outcomes import Outcome
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.kube import KubeError
from server_jobs_operator.cluster.names import jobs_path
from server_jobs_operator.cluster.reasons import BY_RUNNER, Reason
from server_jobs_operator.launches.judge import Judgement, judge
from server_jobs_operator.resources.runner_table import place_of
from server_jobs_operator.telemetry.health import ROUND_SECONDS
from server_jobs_operator.telemetry.log_fields import fields_of
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator.attend")

GATHER_SECONDS = 0.05
"""Changes that arrive within this time are judged together."""

AGAIN_SECONDS = 5.0
"""After a failed request or statement, a launch is looked at again after this time."""
_MOST_AT_ONCE = 200
_MOST_REQUESTS = 10
_LONGEST_WAIT_SECONDS = 60.0


class Attendant:
    """Takes note of changes with :meth:`notice`, and acts on them in :meth:`run`."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._requests = asyncio.Semaphore(_MOST_REQUESTS)
        self._due: dict[Claim, float] = {}
        self._gone: dict[Claim, KnownJob] = {}
        self._missing: dict[Claim, float] = {}
        self._news = asyncio.Event()

    def notice(self, job: KnownJob) -> None:
        """Has a Job judged, since it has changed or was deleted."""
        if job.gone_at is not None:
            self._gone[job.claim] = job
        self.look_at(job.claim)

    def look_at(self, claim: Claim, after: float = 0.0) -> None:
        """Has a launch judged in ``after`` seconds, or earlier if that is planned already."""
        moment = time.monotonic() + after
        if moment < self._due.get(claim, float("inf")):
            self._due[claim] = moment
            self._news.set()

    async def run(self) -> None:
        """Judges what is due, until it is cancelled."""
        while True:
            self._term.health.beat("attend", ROUND_SECONDS)
            await self._wait()
            now = time.monotonic()
            due = [claim for claim, moment in self._due.items() if moment <= now][:_MOST_AT_ONCE]
            for claim in due:
                del self._due[claim]
            await self._try_to_attend(due)

    async def _try_to_attend(self, due: list[Claim]) -> None:
        try:
            return await self.attend(due)
        except DataRefusedError as error:
            if len(due) > 1:
                return await self._attend_one_by_one(due)
            await self._set_aside(due[0], error)
        except DatabaseError as error:
            _log.warning("can't read or settle %d launches, trying again: %s", len(due), error)
        except Exception as error:  # noqa: BLE001 - a loop that ends would end the operator's work
            if len(due) > 1:
                return await self._attend_one_by_one(due)
            for claim in due:
                text = "job %s: an unexpected error in attending to its launch, trying again"
                _log.error(text, claim.job_id, exc_info=error, extra=fields_of(claim))
        for claim in due:
            self.look_at(claim, AGAIN_SECONDS)

    async def _attend_one_by_one(self, due: list[Claim]) -> None:
        """Attends to each by itself: one is the cause, and the others needn't wait for it."""
        for claim in due:
            await self._try_to_attend([claim])

    async def _set_aside(self, claim: Claim, error: DataRefusedError) -> None:
        """Fails a record whose outcome the database refuses."""
        problem = f"the database refuses to settle its launch: {error}"
        try:
            await self._term.launches.records.set_aside(claim.job_id, problem, fence=claim.fence)
        except DatabaseError as refused:
            text = "job %s: its launch can't be settled, trying again: %s"
            _log.error(text, claim.job_id, refused, extra=fields_of(claim))

    async def _wait(self) -> None:
        while True:
            self._news.clear()
            left = min(self._due.values(), default=float("inf")) - time.monotonic()
            if left <= 0:
                await asyncio.sleep(GATHER_SECONDS)
                return
            try:
                async with asyncio.timeout(min(left, _LONGEST_WAIT_SECONDS)):
                    await self._news.wait()
            except TimeoutError:
                return

    async def attend(self, claims: Iterable[Claim]) -> None:
        """Judges these launches and acts on the judgements.

        If the API server refuses a request for one of them, it is looked at again later. Raises
        DatabaseError.
        """
        wanted = list(claims)
        # The Jobs are looked up before the rows are read. A runner settles its record before its
        # pod ends, so a Job that had ended by then has its final row.
        jobs = {claim: self._term.view.of(claim) or self._gone.get(claim) for claim in wanted}
        gone = {claim for claim in wanted if self._term.view.of(claim) is None}
        rows = await self._term.launches.read({claim.job_id for claim in wanted})
        now = await self._term.launches.records.clock()
        judged: list[tuple[Claim, KnownJob | None, Judgement]] = []
        settled: list[tuple[KnownJob, Launch]] = []
        for claim in wanted:
            known, launch = jobs[claim], rows.get(claim.job_id)
            if claim in gone and launch is not None and launch.claim != claim:
                self._gone.pop(claim, None)
                continue
            runner = self._term.runners.get(*self._place_of(known, launch))
            spec = runner.spec if runner else None
            moment = time.monotonic()
            self._note_settled(known, launch, moment)
            if known is not None and launch is not None and _may_tell(known, launch):
                settled.append((known, launch))
            # What is known of a deleted Job may still say what was wrong with it.
            judgement = judge(
                known,
                launch,
                spec,
                now=now,
                moment=moment,
                gone=claim in gone,
                missing_since=self._missing.setdefault(claim, moment) if known is None else None,
            )
            judged.append((claim, known, judgement))
        await self._write(judged)
        await self._tell_of(settled)
        await asyncio.gather(
            *(
                self._try_to_act(claim, known, judgement, gone=claim in gone)
                for claim, known, judgement in judged
            )
        )

    def _place_of(self, known: KnownJob | None, launch: Launch | None) -> tuple[str, str]:
        if known is not None:
            return known.namespace, known.runner
        return place_of(launch.worker_id if launch else None, self._term.launches.prefix)

    def _note_settled(self, known: KnownJob | None, launch: Launch | None, moment: float) -> None:
        running = launch is not None and launch.status is JobStatus.RUNNING
        if known is not None and not running:
            known.settle(moment)

    async def _write(self, judged: list[tuple[Claim, KnownJob | None, Judgement]]) -> None:
        outcomes: dict[Claim, Outcome] = {
            claim: judgement.outcome for claim, _, judgement in judged if judgement.outcome
        }
        if not outcomes:
            return
        settled = await self._term.launches.records.settle(outcomes)
        for claim, known, judgement in judged:
            if judgement.outcome is None:
                continue
            accepted = settled.get(claim.job_id)
            if accepted is None:
                self.look_at(claim)  # its runner settled it first, or its handler has begun
                continue
            error = getattr(judgement.outcome, "error", None)
            text = error.message if error else str(getattr(judgement.outcome, "reason", ""))
            self._tell(claim, known, judgement.reason, text, accepted.status)

    async def _tell_of(self, settled: list[tuple[KnownJob, Launch]]) -> None:
        """Logs, counts and writes Events about launches that their own runners gave up.

        A runner that can't run its job writes that into the record, but nobody sees its pod.
        """
        errors = await self._term.launches.last_errors({launch.id for _, launch in settled})
        for known, launch in settled:
            error = errors.get(launch.id)
            # Only the error of this very launch counts: the record keeps those of earlier ones.
            pod = error.worker.rpartition("/")[2] if error else ""
            if error is not None and error.type in BY_RUNNER and pod in known.pods:
                self._tell(known.claim, known, Reason(error.type), error.message, launch.status)
            elif known.finished and known.pods:
                known.tell()

    def _tell(
        self,
        claim: Claim,
        known: KnownJob | None,
        reason: Reason | None,
        text: str,
        status: JobStatus,
    ) -> None:
        fields = fields_of(claim, known, reason=str(reason or ""))
        _log.warning("job %s: %s; it is now %s", claim.job_id, text, status, extra=fields)
        if reason is not None:
            self._term.metrics.reasons.labels(str(reason)).inc()
        if known is not None:
            known.tell()
            if reason is not None:
                self._term.events.about_job(known, str(reason), text)

    async def _try_to_act(
        self, claim: Claim, known: KnownJob | None, judgement: Judgement, *, gone: bool
    ) -> None:
        try:
            async with self._requests:
                self._term.health.beat("attend", ROUND_SECONDS)
                await self._act(claim, known, judgement, gone=gone)
        except KubeError as error:
            fields = fields_of(claim, known)
            _log.warning("job %s: %s; trying again", claim.job_id, error, extra=fields)
            self.look_at(claim, AGAIN_SECONDS)

    async def _act(
        self, claim: Claim, known: KnownJob | None, judgement: Judgement, *, gone: bool
    ) -> None:
        if gone or known is None:
            if judgement.again is None:
                self._gone.pop(claim, None)
                self._missing.pop(claim, None)
            else:
                self.look_at(claim, judgement.again)
            return
        self._missing.pop(claim, None)
        if judgement.delete and not known.deleting:
            await self._term.kube.delete(jobs_path(known.namespace, known.name), known.uid)
        elif judgement.expire:
            await self._expire(known)
        if judgement.again is not None:
            self.look_at(claim, judgement.again)

    async def _expire(self, known: KnownJob) -> None:
        """Has Kubernetes delete a finished Job after the JobRunner's time to live."""
        runner = self._term.runners.get(known.namespace, known.runner)
        if runner is not None and not known.expiring:
            seconds = runner.spec.ttl_seconds_after_finished
            if known.body["spec"].get("ttlSecondsAfterFinished") != seconds:
                await self._set_time_to_live(known, seconds)
        known.expire()

    async def _set_time_to_live(self, known: KnownJob, seconds: int) -> None:
        try:
            await self._term.kube.patch(
                jobs_path(known.namespace, known.name),
                {"spec": {"ttlSecondsAfterFinished": seconds}},
            )
        except KubeError as error:
            if not error.not_found:
                raise


def _may_tell(known: KnownJob, launch: Launch) -> bool:
    """Whether its runner may have given up this launch, and nobody has told of it yet."""
    over = launch.status is not JobStatus.RUNNING or launch.claim != known.claim
    return over and launch.launch_failures > 0 and not known.told
