"""Every statement that runs against the tables, as SQLAlchemy Core.

A method builds one statement: its shape, made once, and the values of this run. Rows travel as
lists of tuples through :func:`server_jobs.sql.rowset.rows`, so that one settled job and a hundred
are the same statement. What a transition sets stands in ``store.transitions``;
who may make it stands here, in the ``WHERE``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Float,
    Integer,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.types import TypeEngine

from server_jobs.records.requests import JobFilter, Prunable
from server_jobs.records.rows import JobRecord, JobSummary, NewJob
from server_jobs.records.status import FINISHED, LIVE, RETRYABLE, JobStatus
from server_jobs.sql.column_types import JsonText, UtcDateTime
from server_jobs.sql.constructs import (
    add_seconds,
    db_now,
    insert_or_ignore,
    notifying,
    seconds_between,
    within,
)
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import Tables, status_is
from server_jobs.store import transitions

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

Rows = Sequence[Sequence[Any]]
"""Values for a ``rows`` parameter; their order is that of the method's docstring."""

CLAIMED_COLUMNS = (
    "id",
    "job_name",
    "queue",
    "priority",
    "params",
    "fence",
    "attempt_count",
    "max_attempts",
    "retry_policy",
    "timeout_seconds",
    "correlation_id",
    "worker_id",
    "scheduled_for",
)

NEW_COLUMNS: dict[str, TypeEngine[Any]] = {
    "id": Text(),
    "job_name": Text(),
    "params": JsonText(),
    "queue": Text(),
    "priority": Integer(),
    "scheduled_for": UtcDateTime(),
    "delay_seconds": Float(),
    "max_attempts": Integer(),
    "retry_policy": JsonText(),
    "timeout_seconds": Float(),
    "unique_key": Text(),
    "correlation_id": Text(),
    "runtime": JsonText(),
}

_LEASE_SECONDS = bindparam("lease_seconds", type_=Float())
_WORKER_ID = bindparam("worker_id", type_=Text())
_LIMIT = bindparam("limit", type_=Integer())
_ID = bindparam("id", type_=Text())
_AFTER = bindparam("after", type_=Text())

ENDS = tuple(sorted(FINISHED))
"""The order in which a survey counts."""


class Statements:
    """The statements for one set of tables in one dialect.

    ``now`` is the moment by which they judge leases and due times: the database's clock.
    """

    def __init__(
        self, tables: Tables, dialect_name: str, now: ColumnElement[datetime] | None = None
    ) -> None:
        self._jobs = tables.jobs
        self._info = tables.info
        self._channel = tables.channel
        self._postgres = dialect_name == "postgresql"
        self._now: ColumnElement[Any] = db_now() if now is None else now

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def enqueue(self, new: Sequence[NewJob]) -> Statement:
        """Insert pending rows, passing over those whose id or live unique key exists → ids."""
        values = [tuple(getattr(job, column) for column in NEW_COLUMNS) for job in new]
        return Statement(self._enqueue, {"new": values})

    @cached_property
    def _enqueue(self) -> Executable:
        new = rows("new", **NEW_COLUMNS)
        due = case(
            (new.c.scheduled_for.is_not(None), new.c.scheduled_for),
            else_=add_seconds(self._now, new.c.delay_seconds),
        )
        given = [
            column for column in NEW_COLUMNS if column not in {"scheduled_for", "delay_seconds"}
        ]
        source = select(
            *(new.c[column] for column in given),
            due,
            case(
                (new.c.scheduled_for.is_not(None), new.c.scheduled_for <= self._now),
                else_=new.c.delay_seconds <= 0,
            ),
            self._now,
            self._now,
            # SQLite's grammar needs a WHERE between a SELECT and ON CONFLICT.
        ).where(literal_column("1") == literal_column("1"))
        columns = [*given, "scheduled_for", "ready", "created_at", "updated_at"]
        return self._announced(
            insert_or_ignore(self._jobs, columns, source, postgres=self._postgres)
        )

    def live_by_key(self, keys: Rows) -> Statement:
        """Live jobs by (job_name, unique_key) → id, job_name, unique_key."""
        return Statement(self._live_by_key, {"keys": keys})

    @cached_property
    def _live_by_key(self) -> Executable:
        keys = rows("keys", job_name=Text(), unique_key=Text())
        job = self._jobs.c
        return select(job.id, job.job_name, job.unique_key).where(
            job.job_name == keys.c.job_name,
            job.unique_key == keys.c.unique_key,
            status_is(job.status, JobStatus.PENDING, JobStatus.RUNNING),
        )

    def insert_running(self, new: NewJob, *, worker_id: str, lease_seconds: float) -> Statement:
        """Insert a row that its maker executes at once → the claimed job."""
        values = {
            "id": new.id,
            "job_name": new.job_name,
            "params": new.params,
            "queue": new.queue,
            "timeout_seconds": new.timeout_seconds,
            "correlation_id": new.correlation_id,
            "worker_id": worker_id,
            "lease_seconds": lease_seconds,
        }
        return Statement(self._insert_running, values)

    @cached_property
    def _insert_running(self) -> Executable:
        given = ("id", "job_name", "params", "queue", "timeout_seconds", "correlation_id")
        columns = {name: bindparam(name, type_=self._jobs.c[name].type) for name in given}
        changes = transitions.born_running(
            self._now, worker_id=_WORKER_ID, lease_seconds=_LEASE_SECONDS
        )
        return insert(self._jobs).values(**columns, **changes).returning(*self._claimed)

    # ── claim ────────────────────────────────────────────────────────────────────────────────

    def claim(
        self,
        *,
        queue: str,
        job_names: Sequence[str] | None,
        limit: int,
        worker_id: str,
        lease_seconds: float,
        starting: bool,
    ) -> Statement:
        """Claim due jobs of one queue, the most urgent first → claimed jobs, in no order.

        ``job_names`` of None are all that there are.
        """
        named = job_names is not None
        values = {
            "queue": queue,
            "job_names": list(job_names or ()),
            "limit": limit,
            "worker_id": worker_id,
            "lease_seconds": lease_seconds,
        }
        return Statement(self._claims[starting, named], values, unless_empty=self._claimable[named])

    @cached_property
    def _claims(self) -> dict[tuple[bool, bool], Executable]:
        return {
            (starting, named): self._claim(starting=starting, named=named)
            for starting in (True, False)
            for named in (True, False)
        }

    def _claim(self, *, starting: bool, named: bool) -> Executable:
        candidate = self._jobs.alias("candidate")
        candidates = (
            select(candidate.c.id)
            .where(self._is_claimable(candidate.c, named=named))
            .order_by(candidate.c.priority.desc(), candidate.c.scheduled_for, candidate.c.id)
            .limit(_LIMIT)
            .with_for_update(skip_locked=True)
        )
        return self._update(
            within(self._jobs.c.id, candidates),
            changes=transitions.claim(
                self._jobs.c,
                self._now,
                worker_id=_WORKER_ID,
                lease_seconds=_LEASE_SECONDS,
                starting=starting,
            ),
        ).returning(*self._claimed)

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

    def claim_one(self, job_id: str, *, worker_id: str, lease_seconds: float) -> Statement:
        """Claim and start this job if it is due → the claimed job, or nothing."""
        values = {"id": job_id, "worker_id": worker_id, "lease_seconds": lease_seconds}
        return Statement(self._claim_one, values)

    @cached_property
    def _claim_one(self) -> Executable:
        job = self._jobs.c
        return self._update(
            job.id == _ID,
            status_is(job.status, JobStatus.PENDING),
            job.scheduled_for <= self._now,
            changes=transitions.claim(
                job, self._now, worker_id=_WORKER_ID, lease_seconds=_LEASE_SECONDS, starting=True
            ),
        ).returning(*self._claimed)

    def start(self, job_id: str, fence: int, *, worker_id: str, lease_seconds: float) -> Statement:
        """Begin the handler of a claimed job, once per fence → the claimed job, or nothing.

        Whoever has begun it gets it again, so that a lost answer may be asked for once more.
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
            job.id == _ID,
            status_is(job.status, JobStatus.RUNNING),
            job.fence == bindparam("fence", type_=BigInteger()),
            or_(job.handler_started_at.is_(None), job.worker_id == _WORKER_ID),
            changes=transitions.start(
                job, self._now, worker_id=_WORKER_ID, lease_seconds=_LEASE_SECONDS
            ),
        ).returning(*self._claimed)

    # ── while running ────────────────────────────────────────────────────────────────────────

    def heartbeat(self, held: Rows, *, lease_seconds: float) -> Statement:
        """Renew leases of (id, fence) → id, cancel_requested_at."""
        return Statement(self._heartbeat, {"held": held, "lease_seconds": lease_seconds})

    @cached_property
    def _heartbeat(self) -> Executable:
        held = rows("held", id=Text(), fence=BigInteger())
        job = self._jobs.c
        return self._fenced_update(
            held,
            {"worker_expires_at": add_seconds(self._now, _LEASE_SECONDS), "updated_at": self._now},
        ).returning(job.id, job.cancel_requested_at)

    def progress(self, reports: Rows) -> Statement:
        """Write (id, fence, percent, message) of running jobs → ids still held."""
        return Statement(self._progress, {"reports": reports})

    @cached_property
    def _progress(self) -> Executable:
        reports = rows("reports", id=Text(), fence=BigInteger(), percent=Float(), message=Text())
        changes = {
            "progress": reports.c.percent,
            "progress_message": reports.c.message,
            "updated_at": self._now,
        }
        return self._fenced_update(reports, changes).returning(self._jobs.c.id)

    def cancel_requests(self, worker_id: str) -> Statement:
        """The worker's running jobs that shall be cancelled → id, fence."""
        return Statement(self._cancel_requests, {"worker_id": worker_id})

    @cached_property
    def _cancel_requests(self) -> Executable:
        job = self._jobs.c
        return select(job.id, job.fence).where(
            job.worker_id == _WORKER_ID,
            status_is(job.status, JobStatus.RUNNING),
            job.cancel_requested_at.is_not(None),
        )

    def held_by(self, worker_id: str) -> Statement:
        """All that runs under a worker's id → id, fence."""
        return Statement(self._held_by, {"worker_id": worker_id})

    @cached_property
    def _held_by(self) -> Executable:
        job = self._jobs.c
        return select(job.id, job.fence).where(
            status_is(job.status, JobStatus.RUNNING), job.worker_id == _WORKER_ID
        )

    # ── settle: the holder's last write, by fence → id, status, scheduled_for ────────────────

    def complete(self, settled: Rows) -> Statement:
        """(id, fence, result, last progress message)."""
        return Statement(self._complete, {"settled": settled})

    @cached_property
    def _complete(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.complete(
                job, self._now, result=row.result, message=row.message
            ),
            result=JsonText(),
            message=Text(),
        )

    def fail(self, settled: Rows) -> Statement:
        """(id, fence, error, record, permanent, delay in seconds)."""
        return Statement(self._fail, {"settled": settled})

    @cached_property
    def _fail(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.fail(
                job,
                self._now,
                error=row.error,
                record=row.record,
                permanent=row.permanent == literal_column("1"),
                delay=row.delay,
            ),
            error=Text(),
            record=JsonText(),
            permanent=Integer(),
            delay=Float(),
        )

    def release(self, settled: Rows) -> Statement:
        """(id, fence, reason, max_releases)."""
        return Statement(self._release, {"settled": settled})

    @cached_property
    def _release(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.release(
                job, self._now, reason=row.reason, max_releases=row.max_releases
            ),
            reason=Text(),
            max_releases=Integer(),
        )

    def postpone(self, settled: Rows) -> Statement:
        """(id, fence, reason, delay in seconds)."""
        return Statement(self._postpone, {"settled": settled})

    @cached_property
    def _postpone(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.postpone(
                job, self._now, delay=row.delay, reason=row.reason
            ),
            reason=Text(),
            delay=Float(),
        )

    def abandon(self, settled: Rows) -> Statement:
        """(id, fence, reason)."""
        return Statement(self._abandon, {"settled": settled})

    @cached_property
    def _abandon(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.abandon(job, self._now, reason=row.reason),
            reason=Text(),
        )

    def lose_launch(self, settled: Rows) -> Statement:
        """(id, fence, reason, record, delay in seconds, max_failures); only before the start."""
        return Statement(self._lose_launch, {"settled": settled})

    @cached_property
    def _lose_launch(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.lose_launch(
                job,
                self._now,
                reason=row.reason,
                record=row.record,
                delay=row.delay,
                max_failures=row.max_failures,
            ),
            self._jobs.c.handler_started_at.is_(None),
            reason=Text(),
            record=JsonText(),
            delay=Float(),
            max_failures=Integer(),
        )

    def disrupt(self, settled: Rows) -> Statement:
        """(id, fence, reason, record, delay in seconds, max_disruptions); only after the start."""
        return Statement(self._disrupt, {"settled": settled})

    @cached_property
    def _disrupt(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.disrupt(
                job,
                self._now,
                reason=row.reason,
                record=row.record,
                delay=row.delay,
                max_disruptions=row.max_disruptions,
            ),
            self._jobs.c.handler_started_at.is_not(None),
            reason=Text(),
            record=JsonText(),
            delay=Float(),
            max_disruptions=Integer(),
        )

    def settled(self, held: Rows) -> Statement:
        """How rows of (id, fence) stand that are no longer running under it → id, status.

        After a commit whose answer was lost, this tells whether it happened.
        """
        return Statement(self._settled, {"held": held})

    @cached_property
    def _settled(self) -> Executable:
        held = rows("held", id=Text(), fence=BigInteger())
        job = self._jobs.c
        running = status_is(job.status, JobStatus.RUNNING)
        return select(job.id, job.status).where(
            job.id == held.c.id, job.fence == held.c.fence, ~running
        )

    # ── maintenance ──────────────────────────────────────────────────────────────────────────

    def stage(self, limit: int) -> Statement:
        """Make what has become due visible to claims → ids."""
        return Statement(self._stage, {"limit": limit}, unless_empty=self._stageable)

    @cached_property
    def _stage(self) -> Executable:
        candidate = self._jobs.alias("candidate")
        candidates = (
            select(candidate.c.id)
            .where(self._is_stageable(candidate.c))
            .order_by(candidate.c.scheduled_for)
            .limit(_LIMIT)
            .with_for_update(skip_locked=True)
        )
        return self._update(
            within(self._jobs.c.id, candidates), changes=transitions.stage(self._now)
        ).returning(self._jobs.c.id)

    @cached_property
    def _stageable(self) -> Executable:
        return select(literal_column("1")).where(self._is_stageable(self._jobs.c)).limit(1)

    def _is_stageable(self, job: transitions.Job) -> ColumnElement[bool]:
        return and_(
            status_is(job.status, JobStatus.PENDING),
            job.ready == false(),
            job.scheduled_for <= self._now,
        )

    def expired(self, limit: int) -> Statement:
        """Running jobs whose lease has expired, the longest first → what a rescue needs."""
        return Statement(self._expired, {"limit": limit})

    @cached_property
    def _expired(self) -> Executable:
        job = self._jobs.c
        return (
            select(
                job.id,
                job.fence,
                job.attempt_count,
                job.retry_policy,
                job.worker_id,
                job.handler_started_at,
            )
            .where(self._is_expired)
            .order_by(job.worker_expires_at)
            .limit(_LIMIT)
        )

    @cached_property
    def _is_expired(self) -> ColumnElement[bool]:
        job = self._jobs.c
        return and_(status_is(job.status, JobStatus.RUNNING), job.worker_expires_at <= self._now)

    def rescue(self, settled: Rows) -> Statement:
        """(id, fence, reason, record, delay in seconds), unless renewed meanwhile."""
        return Statement(self._rescue, {"settled": settled})

    @cached_property
    def _rescue(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.rescue(
                job, self._now, reason=row.reason, record=row.record, delay=row.delay
            ),
            self._is_expired,
            reason=Text(),
            record=JsonText(),
            delay=Float(),
        )

    def survey(self, prunable: Prunable, *, after: str, limit: int) -> Statement:
        """Read ``limit`` rows by id from ``after`` → last id, rows, prunable ones by status.

        Walking the primary key needs no index beside it, and bounds what one statement reads
        whatever lies in the table.
        """
        shape = self._survey[bool(prunable.job_names)]
        return Statement(shape, {**_prunable(prunable), "after": after, "limit": limit})

    @cached_property
    def _survey(self) -> dict[bool, Executable]:
        job = self._jobs.c

        def shape(named: bool) -> Executable:
            stretch = (
                select(job.id, case((_is_prunable(job, named), job.status)).label("end"))
                .where(job.id > _AFTER)
                .order_by(job.id)
                .limit(_LIMIT)
                .subquery("stretch")
            )
            row = stretch.c
            ends = (func.count(case((status_is(row.end, status), row.id))) for status in ENDS)
            return select(func.max(row.id), func.count(), *ends).select_from(stretch)

        return {named: shape(named) for named in (False, True)}

    def prune(self, prunable: Prunable, *, after: str, to: str) -> Statement:
        """Delete jobs between two ids, the last one included → id, status.

        What somebody else has locked, to retry it for instance, is passed over.
        """
        shape = self._prune[bool(prunable.job_names)]
        return Statement(shape, {**_prunable(prunable), "after": after, "to": to})

    @cached_property
    def _prune(self) -> dict[bool, Executable]:
        job, candidate = self._jobs.c, self._jobs.alias("candidate")

        def shape(named: bool) -> Executable:
            candidates = (
                select(candidate.c.id)
                .where(
                    candidate.c.id > _AFTER,
                    candidate.c.id <= bindparam("to", type_=Text()),
                    _is_prunable(candidate.c, named),
                )
                .with_for_update(skip_locked=True)
            )
            return (
                delete(self._jobs)
                .where(within(job.id, candidates), _is_prunable(job, named))
                .returning(job.id, job.status)
            )

        return {named: shape(named) for named in (False, True)}

    # ── by a person ──────────────────────────────────────────────────────────────────────────

    def cancel(self, job_ids: Sequence[str]) -> Statement:
        """Cancel pending jobs, ask the holders of running ones to → id, status of each."""
        return Statement(self._cancel, {"chosen": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _cancel(self) -> Executable:
        chosen = rows("chosen", id=Text())
        job = self._jobs.c
        return self._update(
            job.id == chosen.c.id,
            status_is(job.status, *sorted(LIVE)),
            changes=transitions.cancel(job, self._now),
        ).returning(job.id, job.status)

    def retry(self, job_ids: Sequence[str]) -> Statement:
        """Run failed and cancelled jobs again, whose unique key is free → id, status of each.

        Of several with the same key the newest goes.
        """
        return Statement(self._retry, {"chosen": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _retry(self) -> Executable:
        chosen = rows("chosen", id=Text())
        job, other, holder = self._jobs.c, self._jobs.alias("other"), self._jobs.alias("holder")
        same_key = (other.c.job_name, other.c.unique_key)
        turns = (
            select(
                other.c.id,
                func.row_number()
                .over(partition_by=same_key, order_by=other.c.id.desc())
                .label("turn"),
            )
            .where(other.c.id == chosen.c.id, status_is(other.c.status, *sorted(RETRYABLE)))
            .subquery("turns")
        )
        key_is_taken = exists().where(
            holder.c.job_name == job.job_name,
            holder.c.unique_key == job.unique_key,
            status_is(holder.c.status, *sorted(LIVE)),
        )
        return self._update(
            job.id == turns.c.id,
            # Once more: by now somebody else may have retried it.
            status_is(job.status, *sorted(RETRYABLE)),
            or_(
                job.unique_key.is_(None),
                and_(turns.c.turn == literal_column("1"), ~key_is_taken),
            ),
            changes=transitions.retry(job, self._now),
        ).returning(job.id, job.status)

    # ── read ─────────────────────────────────────────────────────────────────────────────────

    def summaries(self, job_ids: Sequence[str]) -> Statement:
        """How those of these jobs stand that there are → the columns of a summary."""
        return Statement(self._summaries, {"ids": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _summaries(self) -> Executable:
        ids = rows("ids", id=Text())
        return select(*self._summary).where(self._jobs.c.id == ids.c.id)

    def get(self, job_id: str) -> Statement:
        """One record → all its columns."""
        return Statement(self._get, {"id": job_id})

    @cached_property
    def _get(self) -> Executable:
        return select(*self._record).where(self._jobs.c.id == _ID)

    def by_prefix(self, prefix: str, limit: int) -> Statement:
        """Records whose id begins with ``prefix`` → all their columns."""
        values = {"from": prefix, "to": prefix + "\uffff", "limit": limit}
        return Statement(self._by_prefix, values)

    @cached_property
    def _by_prefix(self) -> Executable:
        job = self._jobs.c
        return (
            select(*self._record)
            .where(
                job.id >= bindparam("from", type_=Text()), job.id < bindparam("to", type_=Text())
            )
            .order_by(job.id)
            .limit(_LIMIT)
        )

    def list_jobs(self, wanted: JobFilter, *, before_id: str | None, limit: int) -> Statement:
        """Records that fit, newest first → all their columns."""
        return self._page(self._record, wanted, before_id, limit)

    def list_ids(self, wanted: JobFilter, *, before_id: str | None, limit: int) -> Statement:
        """Ids of jobs that fit, newest first."""
        return self._page([self._jobs.c.id], wanted, before_id, limit)

    def _page(
        self,
        columns: Sequence[ColumnElement[Any]],
        wanted: JobFilter,
        before_id: str | None,
        limit: int,
    ) -> Statement:
        job = self._jobs.c
        conditions, values = self._fits(wanted)
        if before_id is not None:
            conditions.append(job.id < bindparam("before_id", type_=Text()))
        page = select(*columns).where(*conditions).order_by(job.id.desc()).limit(_LIMIT)
        return Statement(page, {**values, "before_id": before_id, "limit": limit})

    def tally(self, wanted: JobFilter) -> Statement:
        """How many jobs fit → status, count, newest id."""
        job = self._jobs.c
        conditions, values = self._fits(wanted)
        counts = select(job.status, func.count(), func.max(job.id)).where(*conditions)
        return Statement(counts.group_by(job.status), values)

    def list_live(self, wanted: JobFilter, *, limit: int) -> Statement:
        """Pending and running jobs that fit, newest first → the columns of a summary.

        Its cost is that of the live jobs, however many have ended.
        """
        job, live = self._jobs.c, self._live_jobs.subquery("live")
        conditions, values = self._fits(wanted)
        found = (
            select(*self._summary)
            .where(job.id == live.c.id, *conditions)
            .order_by(job.id.desc())
            .limit(_LIMIT)
        )
        return Statement(found, {**values, "limit": limit})

    @cached_property
    def _live_jobs(self) -> CompoundSelect[Any]:
        # Three questions, for each has an index of its own, in which only live jobs stand.
        job = self._jobs.c
        pending = status_is(job.status, JobStatus.PENDING)
        kinds = (
            pending & (job.ready == true()),
            pending & (job.ready == false()),
            status_is(job.status, JobStatus.RUNNING),
        )
        return union_all(*(select(job.id).where(kind) for kind in kinds))

    def _fits(self, wanted: JobFilter) -> tuple[list[ColumnElement[bool]], dict[str, Any]]:
        """What a filter means: conditions, and the values of their parameters."""
        job = self._jobs.c
        conditions: list[ColumnElement[bool]] = []
        values: dict[str, Any] = {}
        if wanted.statuses:
            conditions.append(status_is(job.status, *wanted.statuses))
        for column, name, several in (
            (job.job_name, "job_names", wanted.job_names),
            (job.queue, "queues", wanted.queues),
        ):
            if several:
                conditions.append(one_of(column, name))
                values[name] = list(several)
        if wanted.correlation_id is not None:
            conditions.append(job.correlation_id == bindparam("correlation_id", type_=Text()))
            values["correlation_id"] = wanted.correlation_id
        if wanted.older_than is not None:
            conditions.append(job.created_at <= self._ago("older_than"))
            values["older_than"] = -wanted.older_than
        if wanted.newer_than is not None:
            conditions.append(job.created_at > self._ago("newer_than"))
            values["newer_than"] = -wanted.newer_than
        return conditions, values

    def _ago(self, name: str) -> ColumnElement[datetime]:
        return add_seconds(self._now, bindparam(name, type_=Float()))

    def counts(self) -> Statement:
        """How many jobs there are → job_name, queue, status, count, mean seconds of an attempt."""
        return Statement(self._counts)

    @cached_property
    def _counts(self) -> Executable:
        job = self._jobs.c
        seconds = func.avg(seconds_between(job.completed_at, job.handler_started_at))
        return (
            select(job.job_name, job.queue, job.status, func.count().label("count"), seconds)
            .group_by(job.job_name, job.queue, job.status)
            .order_by(job.job_name, job.queue, job.status)
        )

    def outstanding(
        self, *, queues: Sequence[str], job_names: Sequence[str], within_seconds: float
    ) -> Statement:
        """A row if a job of these is pending and due by then, else nothing."""
        values = {
            "queues": list(queues),
            "job_names": list(job_names),
            "within_seconds": within_seconds,
        }
        return Statement(self._outstanding, values)

    @cached_property
    def _outstanding(self) -> Executable:
        job = self._jobs.c
        ours = and_(
            one_of(job.queue, "queues"),
            one_of(job.job_name, "job_names"),
            status_is(job.status, JobStatus.PENDING),
        )
        horizon = add_seconds(self._now, bindparam("within_seconds", type_=Float()))
        # Two questions, for each has an index of its own.
        return select(literal_column("1")).where(
            or_(
                exists().where(ours, job.ready == true()),
                exists().where(ours, job.ready == false(), job.scheduled_for <= horizon),
            )
        )

    def available(
        self, *, queues: Sequence[str], job_names: Sequence[str], limit: int
    ) -> Statement:
        """How many jobs of these could be claimed now, counted up to ``limit``."""
        values = {"queues": list(queues), "job_names": list(job_names), "limit": limit}
        return Statement(self._available, values)

    @cached_property
    def _available(self) -> Executable:
        job = self._jobs.c
        found = (
            select(job.id)
            .where(
                one_of(job.queue, "queues"),
                one_of(job.job_name, "job_names"),
                status_is(job.status, JobStatus.PENDING),
                job.ready == true(),
            )
            .limit(_LIMIT)
            .subquery("found")
        )
        return select(func.count()).select_from(found)

    def schema_info(self) -> Statement:
        """What the tables are → version, oldest code that may use them."""
        return Statement(self._schema_info)

    @cached_property
    def _schema_info(self) -> Executable:
        return select(self._info.c.version, self._info.c.oldest_code)

    def clock(self) -> Statement:
        """The moment by which everything here is judged."""
        return Statement(self._clock)

    @cached_property
    def _clock(self) -> Executable:
        return select(self._now.label("now"))

    # ── shared ───────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _claimed(self) -> list[ColumnElement[Any]]:
        return [self._jobs.c[name] for name in CLAIMED_COLUMNS]

    @cached_property
    def _record(self) -> list[ColumnElement[Any]]:
        return [self._jobs.c[name] for name in JobRecord.__dataclass_fields__]

    @cached_property
    def _summary(self) -> list[ColumnElement[Any]]:
        return [self._jobs.c[name] for name in JobSummary.__dataclass_fields__]

    def _announced(self, new: postgresql.Insert | sqlite.Insert) -> Executable:
        """The INSERT, returning ids; on PostgreSQL it wakes the workers that listen."""
        job = self._jobs.c
        if not self._postgres:
            return new.returning(job.id)
        return notifying(new.returning(job.id, job.queue, job.ready), self._channel)

    def _update(self, *conditions: Any, changes: transitions.Changes) -> Update:
        return update(self._jobs).where(*conditions).values(**changes)

    def _fenced_update(
        self, held: Subquery, changes: transitions.Changes, *conditions: ColumnElement[bool]
    ) -> Update:
        """Write as the holder: only rows that still run under the fence of their claim."""
        job = self._jobs.c
        return self._update(
            job.id == held.c.id,
            status_is(job.status, JobStatus.RUNNING),
            job.fence == held.c.fence,
            *conditions,
            changes=changes,
        )

    def _settle(
        self,
        transition: Callable[[Any, transitions.Job], transitions.Changes],
        *conditions: ColumnElement[bool],
        **columns: Any,
    ) -> Executable:
        settled = rows("settled", id=Text(), fence=BigInteger(), **columns)
        job = self._jobs.c
        changes = transition(settled.c, job)
        return self._fenced_update(settled, changes, *conditions).returning(
            job.id, job.status, job.scheduled_for
        )


def _prunable(prunable: Prunable) -> dict[str, Any]:
    moments = {f"{status}_before": prunable.before.get(status) for status in ENDS}
    return {**moments, "job_names": list(prunable.job_names)}


def _is_prunable(job: transitions.Job, named: bool) -> ColumnElement[bool]:
    """Ended before the moment of its status; compared with NULL, that is never."""
    old_enough = or_(
        *(
            status_is(job.status, status)
            & (job.completed_at < bindparam(f"{status}_before", type_=UtcDateTime()))
            for status in ENDS
        )
    )
    return and_(old_enough, one_of(job.job_name, "job_names")) if named else old_enough


@cache
def statements(tables: Tables, dialect_name: str) -> Statements:
    """The statements by the database's own clock, made once so that shapes are compiled once."""
    return Statements(tables, dialect_name)
