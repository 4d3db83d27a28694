"""A database on which the incidents of a script happen, each at its point in a worker's life."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from enum import Enum
from typing import NamedTuple

from server_jobs.database import Database
from server_jobs.errors import DatabaseError, DatabaseUnavailableError
from server_jobs.records.requests import ClaimRequest
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.statements.hold import HoldStatements
from server_jobs.store.statements.maintain import MaintainStatements
from server_jobs.store.statements.settle import SettleStatements
from tests.support.databases.pass_through import PassingDatabase

LATE_SECONDS = 0.2
"""When a statement is committed whose connection broke, or which nobody waits for any more."""


class Point(Enum):
    """What a worker is doing, told by a statement that it sends."""

    CLAIM = "claims"
    SETTLE = "settles what has ended"
    RELEASE = "gives back"
    LOOK_UP = "asks whether a commit happened"
    RECOVER = "asks what it holds"
    HEARTBEAT = "renews its leases"
    PROGRESS = "writes progress"
    CANCELLATIONS = "asks what to cancel"
    STAGE = "stages what has become due"
    EXPIRED = "looks for expired leases"
    RESCUE = "rescues"


_NOW_AND_THEN = {Point.HEARTBEAT, Point.CANCELLATIONS, Point.STAGE, Point.EXPIRED}


class Mishap(Enum):
    """What happens there."""

    ERROR = "the connection breaks before the statement arrives"
    REFUSED = "the database refuses it, for no fault of its own"
    LOST = "it is committed, and the answer is lost"
    LATE = "the connection breaks, and the statement is committed once the worker has asked"
    CANCELLED = "the worker is cancelled while the statement is under way"
    KILLED_BEFORE = "the worker dies before the statement arrives"
    KILLED_AFTER = "the worker dies once it is committed"

    @property
    def kills(self) -> bool:
        return self in {Mishap.KILLED_BEFORE, Mishap.KILLED_AFTER}


class Incident(NamedTuple):
    """The first time, after ``passing`` times, that a worker does this, that happens."""

    point: Point
    mishap: Mishap
    passing: int = 0


class ScriptedDatabase(PassingDatabase):
    """Passes everything on to a real database, but for the incidents of the script, one by one.

    A worker that died can't be stopped dead in a test's own process; but nothing that it says
    reaches the database any more.
    """

    def __init__(self, database: Database, script: Iterable[Incident]) -> None:
        super().__init__(database)
        self._shapes = _shapes(database)
        self._script = deque(script)
        self._passed = 0
        self._loop = asyncio.get_running_loop()
        self._late: list[Future[list[list[Row]]]] = []
        self._awaited: tuple[Point, asyncio.Event] | None = None
        self.happened: list[Incident] = []
        self.dead = False
        self.cancel: Callable[[], object] = lambda: None
        """What whoever cancels the worker does."""

    @property
    def busy(self) -> bool:
        """Whether the database is still at a statement of which nobody awaits the answer."""
        return not all(late.done() for late in self._late)

    @property
    def waits_for_the_clock(self) -> bool:
        """Whether the next incident is at something that a worker does now and then."""
        return bool(self._script) and self._script[0].point in _NOW_AND_THEN

    async def finish(self) -> None:
        """Wait for the statements that the database is still busy with."""
        await asyncio.gather(*map(asyncio.wrap_future, self._late))

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if self.dead:
            raise DatabaseUnavailableError("the test's worker is dead")
        incident = self._next(statements)
        if incident is None:
            answer = await super()._run(statements)
            await self._asked(statements)
            return answer
        self.happened.append(incident)
        match incident.mishap:
            case Mishap.REFUSED:
                raise DatabaseError("refused by the test")
            case Mishap.LOST:
                await super()._run(statements)
            case Mishap.LATE:
                # The moment that is worst for us: the question was answered, and nothing found yet.
                question = Point.LOOK_UP if incident.point is Point.SETTLE else Point.RECOVER
                self._awaited = question, asyncio.Event()
                self._run_later(statements, self._awaited[1])
            case Mishap.CANCELLED:
                late = self._run_later(statements, asyncio.Event())
                self._loop.call_soon_threadsafe(self.cancel)
                return await asyncio.wrap_future(late)
            case Mishap.KILLED_BEFORE:
                self.dead = True
            case Mishap.KILLED_AFTER:
                await super()._run(statements)
                self.dead = True
        raise DatabaseUnavailableError(f"as the test wants: {incident.mishap.value}")

    def _next(self, statements: Sequence[Statement]) -> Incident | None:
        if not self._script:
            return None
        incident = self._script[0]
        if not self._says(statements, incident.point):
            return None
        if self._passed < incident.passing:
            self._passed += 1
            return None
        self._passed = 0
        return self._script.popleft()

    def _says(self, statements: Sequence[Statement], point: Point) -> bool:
        return any(statement.shape in self._shapes[point] for statement in statements)

    async def _asked(self, statements: Sequence[Statement]) -> None:
        """Now that this question is answered, let what was late happen."""
        if self._awaited is not None and self._says(statements, self._awaited[0]):
            self._awaited[1].set()
            self._awaited = None
            await self.finish()

    def _run_later(
        self, statements: Sequence[Statement], now: asyncio.Event
    ) -> "Future[list[list[Row]]]":
        # In the test's own loop, which outlives a worker's; cancelling the asker doesn't end it.
        run = super()._run

        async def later() -> list[list[Row]]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LATE_SECONDS):
                    await now.wait()
            return await run(statements)

        running = asyncio.run_coroutine_threadsafe(later(), self._loop)
        # Nobody cancels what a server is busy with: the asker's own wish must not reach it.
        answer: Future[list[list[Row]]] = Future()
        running.add_done_callback(lambda done: _copy(done, answer))
        self._late.append(running)
        return answer


def _copy(done: "Future[list[list[Row]]]", answer: "Future[list[list[Row]]]") -> None:
    if answer.cancelled():
        return
    error = done.exception()
    if error is None:
        answer.set_result(done.result())
    else:
        answer.set_exception(error)


def _shapes(database: Database) -> dict[Point, set[object]]:
    """The statements of each point, recognised by their shape, which is the same in every run."""
    hold, settle = HoldStatements.of(database), SettleStatements.of(database)
    maintain = MaintainStatements.of(database)
    claim = hold.claim(ClaimRequest("", (), 1, "", 1))
    found = {
        Point.CLAIM: [claim],
        Point.SETTLE: [settle.complete([]), settle.fail([])],
        Point.RELEASE: [settle.release([])],
        Point.LOOK_UP: [settle.settled([])],
        Point.RECOVER: [hold.held_by("")],
        Point.HEARTBEAT: [hold.heartbeat([], lease_seconds=1)],
        Point.PROGRESS: [hold.progress([])],
        Point.CANCELLATIONS: [hold.cancel_requests("")],
        Point.STAGE: [maintain.stage(1)],
        Point.EXPIRED: [settle.expired(1)],
        Point.RESCUE: [settle.rescue([])],
    }
    return {point: {statement.shape for statement in found[point]} for point in found}
