"""Claims what JobRunners have room for, creates Jobs, and renews leases until handlers begin."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from server_jobs.errors import DatabaseError, DataRefusedError
from server_jobs.launches.launch import Launch
from server_jobs.records.outcomes import Outcome, Withdrawn
from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.kube import KubeError
from server_jobs_operator.cluster.reasons import Finding, Reason
from server_jobs_operator.launches.create import create_or_adopt
from server_jobs_operator.launches.judge import outcome_of
from server_jobs_operator.launches.manifest import InvalidRuntime, job_manifest
from server_jobs_operator.launches.pace import Pace
from server_jobs_operator.launches.sample import Refusal, RefusalKind, sample_refusal
from server_jobs_operator.launches.templates import InvalidTemplate
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.telemetry.log_fields import fields_of
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator.launch")

REFUSED_SECONDS = 30.0
"""How long a JobRunner claims nothing after the API server refused its Jobs."""

AWAY_SECONDS = 5.0
"""The same after the API server didn't answer. The reconciler creates what was claimed by then."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _NotCreated:
    """A launch for which no Job will be created."""

    outcome: Outcome
    """What to write into the record."""
    found: Finding | None = None
    """What was wrong with this launch; None if the cause isn't its own."""


class Launcher:
    """Holds every claim from :meth:`claim` or :meth:`hold` until its handler begins."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._unstarted: dict[Claim, float] = {}
        """Claims whose handlers haven't begun, and since when they are held (monotonic seconds)."""
        self._without_job: dict[Claim, tuple[str, str]] = {}
        """Claims without a Job yet, and the JobRunner whose room each of them takes."""
        self._creating: set[Claim] = set()
        """Claims whose Job is being created right now."""
        self._slots = asyncio.Semaphore(term.settings.create_concurrency)
        self._pace = Pace(term.settings.creates_per_second)
        self._refused_until: dict[tuple[str, str], float] = {}
        self._refusals: dict[tuple[str, str], Refusal] = {}
        """JobRunners whose Jobs are refused, and why."""
        self._turn = 0
        self._turns: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        """Set when the term ends: nothing more is claimed or created."""

    # ── claim ────────────────────────────────────────────────────────────────────────────────

    async def claim(self) -> int:
        """Claims what the JobRunners have room for and begins to launch it → how many.

        JobRunners take turns in being first, and so do the queues of each, so that none starves.
        Raises DatabaseError; what was claimed until then is launched.
        """
        if self.draining:
            return 0
        self._forget_runners()
        claimed = 0
        for runner in _rotated(self._term.runners.serving(), self._turn):
            # Of a namespace that was never listed, nobody knows how many Jobs are in flight.
            if not self._term.view.knows(runner.namespace) or not self._may_claim(runner):
                continue
            claimed_here = 0
            for queue in _rotated(runner.spec.queues, self._turns[runner.key]):
                claimed_here += await self._claim_from(queue, runner)
            # A JobRunner that claimed nothing keeps its place in the rotation of its queues.
            self._turns[runner.key] += claimed_here > 0
            claimed += claimed_here
        self._turn += claimed > 0
        return claimed

    def _forget_runners(self) -> None:
        """Forgets what is known of JobRunners that are gone: one of the same name is another."""
        there = {runner.key for runner in self._term.runners}
        for known in (self._refused_until, self._refusals, self._turns):
            for key in known.keys() - there:
                del known[key]

    async def _claim_from(self, queue: str, runner: JobRunner) -> int:
        room = self.room(runner)
        if room <= 0:
            return 0
        launches = await self._term.launches.claim(
            queue,
            job_names=runner.spec.job_names,
            limit=min(room, 100),
            worker_id=self._term.settings.worker_id(runner.namespace, runner.name),
            lease_seconds=self._term.settings.lease,
        )
        for launch in launches:
            self.launch(launch, runner)
        self._term.metrics.claims.labels(runner.namespace, runner.name).inc(len(launches))
        return len(launches)

    def room(self, runner: JobRunner) -> int:
        """How many more Jobs of a JobRunner may be in flight.

        A claim whose Job can't be created just now takes room as well. Otherwise, everything that
        waits would be claimed while the API server doesn't answer.
        """
        coming = list(self._without_job.values())
        mine = runner.spec.max_concurrency - coming.count(runner.key)
        mine -= self._term.view.in_flight(runner.namespace, runner.name)
        everyone = self._term.settings.max_jobs - self._term.view.in_flight() - len(coming)
        # Beyond what can be created within five seconds, records are left for other workers.
        backlog = int(self._term.settings.creates_per_second * 5) + 10 - len(coming)
        return min(mine, everyone, backlog)

    # ── create ───────────────────────────────────────────────────────────────────────────────

    def launch(self, launch: Launch, runner: JobRunner) -> None:
        """Creates the Job of a claimed record in the background.

        Nothing happens if that is under way already.
        """
        if launch.claim in self._creating:
            return
        self._unstarted.setdefault(launch.claim, time.monotonic())
        self._without_job[launch.claim] = runner.key
        self._creating.add(launch.claim)
        self._in_background(self._create(launch, runner))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, launch: Launch, runner: JobRunner) -> None:
        try:
            await self._pace.next()
            async with self._slots:
                if self.draining:
                    return  # the next leader finds the record without a Job, and creates it
                not_created = await self._created(launch, runner)
            if not_created is not None:
                await self._give_back(launch, runner, not_created)
        except (KubeError, DatabaseError) as error:
            # It stays claimed. The reconciler finds the record without a Job, and creates it.
            self._pause(runner, AWAY_SECONDS)
            fields = self._fields(launch, runner)
            text = "job %s can't be launched now, trying again: %s"
            _log.warning(text, launch.id, error, extra=fields)
        except Exception:  # noqa: BLE001 - one record never stops the others
            fields = self._fields(launch, runner)
            text = "job %s: an unexpected error in launching it, trying again"
            _log.exception(text, launch.id, extra=fields)
        finally:
            self._creating.discard(launch.claim)

    async def _created(self, launch: Launch, runner: JobRunner) -> _NotCreated | None:
        """Creates the Job → None, or what happens to the record if there won't be one."""
        fields = self._fields(launch, runner)
        try:
            body = job_manifest(launch, runner, self._term.settings)
        except InvalidRuntime as error:
            return self._wrong(launch, runner, Reason.INVALID_RUNTIME, str(error))
        except InvalidTemplate as error:
            return self._hold_up(runner, Refusal(RefusalKind.MALFORMED, str(error)))
        except Exception as error:  # noqa: BLE001 - the spec is valid, so the cause is the record
            text = f"no Job can be made of its record: {type(error).__name__}: {error}"
            return self._wrong(launch, runner, Reason.INVALID_RUNTIME, text)
        try:
            created = await create_or_adopt(self._term.kube, runner.namespace, body)
        except KubeError as error:
            if error.passes:
                raise
            return await self._refused(launch, runner, error)
        if created is None:
            reason = f"another Job has the name {body['metadata']['name']}"
            _log.warning("job %s: %s; releasing it", launch.id, reason, extra=fields)
            return _NotCreated(Withdrawn(reason))
        self._term.view.add(created)
        self._without_job.pop(launch.claim, None)
        self._refusals.pop(runner.key, None)
        since = self._unstarted.get(launch.claim)
        if since is not None:
            self._term.metrics.launch_seconds.observe(time.monotonic() - since)
        self._count(runner, "created")
        _log.info(
            "job %s (%s): Kubernetes Job %s/%s created",
            launch.id,
            launch.job_name,
            runner.namespace,
            body["metadata"]["name"],
            extra=fields,
        )
        return None

    async def _refused(self, launch: Launch, runner: JobRunner, error: KubeError) -> _NotCreated:
        """Tells whose trouble a refusal is: the JobRunner's, if its sample is refused as well.

        What the refusal says doesn't tell, since a record's own words may stand in it.
        """
        if error.by_quota:  # by the time that it is asked, a sample may find room
            refusal: Refusal | None = Refusal(RefusalKind.FORBIDDEN, error.message)
        else:
            refusal = await sample_refusal(self._term.kube, runner, self._term.settings)
        if refusal is not None:
            return self._hold_up(runner, refusal)
        text = f"the API server refuses its Job: {error.message or error.reason}"
        return self._wrong(launch, runner, Reason.CONFIG_ERROR, text)

    def _hold_up(self, runner: JobRunner, refusal: Refusal) -> _NotCreated:
        """Pauses a JobRunner whose Jobs are all refused → the record waits, uncharged."""
        self._count(runner, "refused")
        text = f"the API server refuses its Jobs: {refusal.text}"
        if self._refused_until.get(runner.key, 0.0) < time.monotonic():
            where = f"JobRunner {runner.namespace}/{runner.name}"
            _log.error("%s: %s; it claims nothing for %g s", where, text, REFUSED_SECONDS)
        self._pause(runner, REFUSED_SECONDS)
        if runner.key not in self._refusals:
            self._term.events.about_runner(runner, "LaunchesRefused", text)
        self._refusals[runner.key] = refusal
        return _NotCreated(Withdrawn(text, REFUSED_SECONDS))

    def _may_claim(self, runner: JobRunner) -> bool:
        """Whether a JobRunner may claim at present. Of one that was refused, a sample goes first.

        Otherwise records would be claimed and postponed again and again. Nobody waits for the
        sample's answer: others claim meanwhile.
        """
        if self._refused_until.get(runner.key, 0.0) > time.monotonic():
            return False
        if runner.key not in self._refusals:
            return True
        self._pause(runner, REFUSED_SECONDS)
        self._in_background(self._ask_again(runner))
        return False

    async def _ask_again(self, runner: JobRunner) -> None:
        try:
            refusal = await sample_refusal(self._term.kube, runner, self._term.settings)
        except KubeError as error:
            where = f"{runner.namespace}/{runner.name}"
            _log.warning("JobRunner %s: can't ask whether it may launch: %s", where, error)
        else:
            if refusal is not None:
                self._refusals[runner.key] = refusal
            else:
                self._refusals.pop(runner.key, None)
                self._refused_until.pop(runner.key, None)

    def _pause(self, runner: JobRunner, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._refused_until[runner.key] = max(self._refused_until.get(runner.key, 0.0), until)

    def refusal(self, runner: JobRunner) -> Refusal | None:
        """Why the Jobs of a JobRunner are refused at present → None if they aren't."""
        return self._refusals.get(runner.key)

    def _wrong(self, launch: Launch, runner: JobRunner, reason: Reason, text: str) -> _NotCreated:
        self._count(runner, "refused")
        fields = self._fields(launch, runner) | {"reason": str(reason)}
        _log.error("job %s: %s", launch.id, text, extra=fields)
        found = Finding(reason, text, final=True)
        return _NotCreated(outcome_of(launch, runner.spec, found), found)

    async def _give_back(self, launch: Launch, runner: JobRunner, instead: _NotCreated) -> None:
        self._forget(launch.claim)
        records = self._term.launches.records
        try:
            settled = await records.settle({launch.claim: instead.outcome})
        except DataRefusedError as error:
            problem = f"the database refuses to settle its launch: {error}"
            await records.set_aside(launch.id, problem, fence=launch.fence)
            return
        if instead.found is not None and launch.id in settled:
            self._term.metrics.reasons.labels(str(instead.found.reason)).inc()
            self._term.events.about_launch(runner, instead.found)

    def _count(self, runner: JobRunner, outcome: str) -> None:
        self._term.metrics.launches.labels(runner.namespace, runner.name, outcome).inc()

    @staticmethod
    def _fields(launch: Launch, runner: JobRunner) -> dict[str, str | int]:
        return fields_of(launch.claim, namespace=runner.namespace, runner=runner.name)

    # ── renew ────────────────────────────────────────────────────────────────────────────────

    async def renew(self) -> None:
        """Renews the leases of the claims whose handlers haven't begun. Raises DatabaseError."""
        held = list(self._unstarted)
        ours = await self._term.launches.renew(held, lease_seconds=self._term.settings.lease)
        for claim in held:
            if claim.job_id not in ours:
                self._forget(claim)  # its handler has begun, or the claim isn't ours any more

    def hold(self, launch: Launch) -> None:
        """Renews the lease of a launch that has its Job from now on, until its handler begins.

        An earlier leader may have claimed it.
        """
        self._without_job.pop(launch.claim, None)
        if not launch.begun:
            self._unstarted.setdefault(launch.claim, time.monotonic())

    def _forget(self, claim: Claim) -> None:
        self._unstarted.pop(claim, None)
        self._without_job.pop(claim, None)

    def is_creating(self, claim: Claim) -> bool:
        """Whether its Job is being created right now."""
        return claim in self._creating

    async def finish(self, seconds: float) -> None:
        """Waits for Jobs that are being created, for at most so many seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


def _rotated(items: list[T], turn: int) -> list[T]:
    start = turn % len(items) if items else 0
    return items[start:] + items[:start]
