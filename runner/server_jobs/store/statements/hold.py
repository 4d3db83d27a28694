"""Statements of a holder: claiming a job, starting it, keeping its lease, reporting progress."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BigInteger,
    Float,
    FromClause,
    Select,
    Text,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.requests import ClaimRequest
from server_jobs.records.status import JobStatus
from server_jobs.sql.constructs import add_seconds, within
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import status_is
from server_jobs.store import transitions
from server_jobs.store.statements.shared import (
    ID,
    LEASE_SECONDS,
    LIMIT,
    WORKER_ID,
    JobStatements,
    Rows,
)


class HoldStatements(JobStatements):
    """Claims and starts jobs; renews leases, writes progress and finds cancellations."""

    def claim(self, request: ClaimRequest) -> Statement:
        """Claim due jobs of one queue, the most urgent first → claimed jobs, in no order."""
        named = request.job_names is not None
        shape = self._claims[request.starting, named]
        return Statement(shape, self._values(request), unless_empty=self._claimable[named])

    def _values(self, request: ClaimRequest) -> dict[str, object]:
        return {
            "queue": request.queue,
            "job_names": list(request.job_names or ()),
            "limit": request.limit,
            "worker_id": request.worker_id,
            "lease_seconds": request.lease_seconds,
        }

    @cached_property
    def _claims(self) -> dict[tuple[bool, bool], Executable]:
        return {
            (starting, named): self._claim(starting=starting, named=named)
            for starting in (True, False)
            for named in (True, False)
        }

    def _claim(self, *, starting: bool, named: bool) -> Executable:
        candidates = self._candidates(self._jobs.alias("candidate"), named=named)
        return self._update(
            within(self._jobs.c.id, candidates.with_for_update(skip_locked=True, key_share=True)),
            changes=self._claim_changes(starting=starting),
        ).returning(*self._taken(starting=starting))

    def _taken(self, *, starting: bool) -> list[ColumnElement[Any]]:
        """The columns of a claimed job. A launcher executes nothing, and gets no params: many jobs
        with large ones would fill its memory.
        """
        if starting:
            return self._claimed
        return [
            literal_column("''", type_=Text()) if column.name == "params" else column
            for column in self._claimed
        ]

    def _candidates(self, jobs: FromClause, *, named: bool) -> Select[Any]:
        job = jobs.c
        return (
            select(job.id)
            .where(self._is_claimable(job, named=named))
            .order_by(job.priority.desc(), job.scheduled_for, job.id)
            .limit(LIMIT)
        )

    def _claim_changes(self, *, starting: bool) -> transitions.Changes:
        return transitions.claim(
            self._jobs.c,
            self._now,
            worker_id=WORKER_ID,
            lease_seconds=LEASE_SECONDS,
            starting=starting,
        )

    @cached_property
    def _claimable(self) -> dict[bool, Executable]:
        return {
            named: select(literal_column("1"))
            .where(self._is_claimable(self._jobs.c, named=named))
            .limit(1)
            for named in (True, False)
        }

    def _is_claimable(self, job: transitions.Job, *, named: bool) -> ColumnElement[bool]:
        claimable = and_(
            job.queue == bindparam("queue", type_=Text()),
            status_is(job.status, JobStatus.PENDING),
            job.ready == true(),
        )
        return and_(claimable, one_of(job.job_name, "job_names")) if named else claimable

    def claimable(self, request: ClaimRequest) -> Statement:
        """Read what a claim would take → ids, the most urgent first."""
        return Statement(self._claimable_ids[request.job_names is not None], self._values(request))

    @cached_property
    def _claimable_ids(self) -> dict[bool, Executable]:
        return {named: self._candidates(self._jobs, named=named) for named in (True, False)}

    def claim_these(self, request: ClaimRequest, job_ids: Sequence[str]) -> Statement:
        """Claim these of the jobs that a claim would take → claimed jobs, in no order."""
        shape = self._claims_of_these[request.starting, request.job_names is not None]
        return Statement(shape, {**self._values(request), "job_ids": list(job_ids)})

    @cached_property
    def _claims_of_these(self) -> dict[tuple[bool, bool], Executable]:
        return {
            (starting, named): self._update(
                within(self._jobs.c.id, self._these(self._is_claimable, named=named)),
                changes=self._claim_changes(starting=starting),
            ).returning(*self._taken(starting=starting))
            for starting in (True, False)
            for named in (True, False)
        }

    def claim_one(self, job_id: str, *, worker_id: str, lease_seconds: float) -> Statement:
        """Claim and start this job if it is due → the claimed job, or nothing."""
        values = {"id": job_id, "worker_id": worker_id, "lease_seconds": lease_seconds}
        return Statement(self._claim_one, values)

    @cached_property
    def _claim_one(self) -> Executable:
        job = self._jobs.c
        return self._update(
            job.id == ID,
            status_is(job.status, JobStatus.PENDING),
            job.scheduled_for <= self._now,
            changes=transitions.claim(
                job, self._now, worker_id=WORKER_ID, lease_seconds=LEASE_SECONDS, starting=True
            ),
        ).returning(*self._claimed)

    def start(self, job_id: str, fence: int, *, worker_id: str, lease_seconds: float) -> Statement:
        """Begin the handler of a claimed job, once per fence → the claimed job, or nothing.

        The worker that has begun it gets it again, so that it may repeat a call whose answer was
        lost.
        """
        values = {
            "id": job_id,
            "fence": fence,
            "worker_id": worker_id,
            "lease_seconds": lease_seconds,
        }
        return Statement(self._start, values)

    @cached_property
    def _start(self) -> Executable:
        job = self._jobs.c
        return self._update(
            job.id == ID,
            status_is(job.status, JobStatus.RUNNING),
            job.fence == bindparam("fence", type_=BigInteger()),
            or_(job.handler_started_at.is_(None), job.worker_id == WORKER_ID),
            changes=transitions.start(
                job, self._now, worker_id=WORKER_ID, lease_seconds=LEASE_SECONDS
            ),
        ).returning(*self._claimed)

    def heartbeat(self, held: Rows, *, lease_seconds: float) -> Statement:
        """Renew leases of (id, fence) → id, cancel_requested_at."""
        return Statement(self._heartbeat, {"held": held, "lease_seconds": lease_seconds})

    @cached_property
    def _heartbeat(self) -> Executable:
        held = rows("held", id=Text(), fence=BigInteger())
        job = self._jobs.c
        renewed = {
            "worker_expires_at": add_seconds(self._now, LEASE_SECONDS),
            "updated_at": self._now,
        }
        return self._fenced_update(held, lambda _: renewed).returning(
            job.id, job.cancel_requested_at
        )

    def progress(self, reports: Rows) -> Statement:
        """Write (id, fence, percent, message) of running jobs → ids still held."""
        return Statement(self._progress, {"reports": reports})

    @cached_property
    def _progress(self) -> Executable:
        reports = rows("reports", id=Text(), fence=BigInteger(), percent=Float(), message=Text())
        return self._fenced_update(
            reports,
            lambda report: {
                "progress": report.percent,
                "progress_message": report.message,
                "updated_at": self._now,
            },
        ).returning(self._jobs.c.id)

    def lock(self, job_ids: Sequence[str]) -> list[Statement]:
        """Lock running jobs by their ids: the first step of a batch that writes them in several.

        Each statement locks its own rows in order, but several of them together don't. It is no
        step at all on a database with one writer.
        """
        return [Statement(self._lock, {"ids": list(job_ids)})] if self._postgres else []

    @cached_property
    def _lock(self) -> Executable:
        job = self._jobs.c
        return (
            select(job.id)
            .where(one_of(job.id, "ids"), status_is(job.status, JobStatus.RUNNING))
            .order_by(job.id)
            .with_for_update(key_share=True)
        )

    def cancel_requests(self, worker_id: str) -> Statement:
        """Find the worker's running jobs that shall be cancelled → id, fence."""
        return Statement(self._cancel_requests, {"worker_id": worker_id})

    @cached_property
    def _cancel_requests(self) -> Executable:
        job = self._jobs.c
        return select(job.id, job.fence).where(
            job.worker_id == WORKER_ID,
            status_is(job.status, JobStatus.RUNNING),
            job.cancel_requested_at.is_not(None),
        )

    def held_by(self, worker_id: str) -> Statement:
        """Find all jobs that run under a worker's id → id, fence."""
        return Statement(self._held_by, {"worker_id": worker_id})

    @cached_property
    def _held_by(self) -> Executable:
        job = self._jobs.c
        return select(job.id, job.fence).where(
            status_is(job.status, JobStatus.RUNNING), job.worker_id == WORKER_ID
        )
