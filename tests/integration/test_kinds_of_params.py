"""What becomes of params and results of every kind: the table in docs/jobs.md, computed."""

from datetime import datetime
from typing import Any

from server_jobs import Job, create_job_registry, define_job
from server_jobs.database import Database
from server_jobs.errors import InvalidParamsError, InvalidResultError, JobFailedError
from server_jobs.memory import InMemoryBackend
from tests.support.kinds_of_params import KINDS, Kind
from tests.support.pages.markdown import ROOT, tables
from tests.support.workers import drain, registry_of

(ROWS,) = tables(ROOT / "docs" / "jobs.md")["What comes back"]
ELSEWHERE, ON_POSTGRES = "SQLite, in memory, `now`", "PostgreSQL"

Outcomes = dict[str, str]
"""What became of a kind, by its name, in the words of the table."""


class Trial:
    """One kind as the params of one job and as the result of another, and what became of it."""

    def __init__(self, number: int, kind: Kind) -> None:
        self.kind = kind
        self.seen: list[Any] = []
        self.receiving: Job[Any, Any] = define_job(
            name=f"Receive{number}",
            params_schema=kind.type,
            result_schema=type(None),
            handler=self._receive,
            max_attempts=1,
        )
        self.returning: Job[Any, Any] = define_job(
            name=f"Return{number}",
            params_schema=int,
            result_schema=kind.type,
            handler=self._return,
            max_attempts=1,
        )
        self.passed = self.receiving.definition.params.validate(kind.value)

    def _receive(self, params: Any) -> None:
        self.seen.append(params)

    def _return(self, params: int) -> Any:
        return self.kind.value

    def received(self) -> str:
        """What a handler received since the last call, in the table's words."""
        (got,) = self.seen or [None]
        said = self.said(got) if self.seen else "nothing"
        self.seen.clear()
        return said

    def said(self, got: Any) -> str:
        if repr(got) == repr(self.passed):
            return "the same"
        return f"`{got}`" if isinstance(got, datetime) else f"`{got!r}`"


TRIALS = [Trial(number, kind) for number, kind in enumerate(KINDS)]


def table(column: str) -> Outcomes:
    return {row["params or result"]: row[column] for row in ROWS}


async def by_a_worker(database: Database) -> tuple[Outcomes, Outcomes]:
    registry = registry_of(database, *(t.receiving for t in TRIALS), *(t.returning for t in TRIALS))
    params, results, ids = {}, {}, {}
    for trial in TRIALS:
        ids[trial.kind.name] = await trial.returning.later(1)
        try:
            await trial.receiving.later(trial.kind.value)
        except InvalidParamsError:
            params[trial.kind.name] = "refused"
    await drain(database, registry)
    for trial in TRIALS:
        name = trial.kind.name
        params.setdefault(name, trial.received())
        record = await trial.returning.get(ids[name])
        if record.attempt_errors:
            assert record.attempt_errors[0].type == InvalidResultError.__name__
            results[name] = "refused"
        else:
            results[name] = trial.said((await trial.returning.wait(ids[name])).data)
    return params, results


async def here_and_now(*, persist: bool) -> tuple[Outcomes, Outcomes]:
    params, results = {}, {}
    for trial in TRIALS:
        name = trial.kind.name
        try:
            await trial.receiving.now(trial.kind.value, persist=persist)
            params[name] = trial.received()
        except InvalidParamsError:
            params[name] = "refused"
        try:
            results[name] = trial.said((await trial.returning.now(1, persist=persist)).data)
        except JobFailedError as error:
            why = error.__cause__
            results[name] = "refused" if isinstance(why, InvalidResultError) else repr(why)
    return params, results


def test_every_kind_has_its_row() -> None:
    assert list(table(ELSEWHERE)) == [kind.name for kind in KINDS]


async def test_what_a_worker_gets_is_what_the_table_says(
    database: Database, database_url: str
) -> None:
    column = ON_POSTGRES if database_url.startswith("postgres") else ELSEWHERE

    params, results = await by_a_worker(database)

    assert params == table(column)
    assert results == table(column)


async def test_the_same_holds_in_memory() -> None:
    backend = InMemoryBackend(job_registry=create_job_registry())
    await backend.initialize()

    params, results = await by_a_worker(backend.database)
    await backend.shutdown()

    assert params == table(ELSEWHERE)
    assert results == table(ELSEWHERE)


async def test_now_without_a_record_takes_and_gives_what_a_worker_would() -> None:
    params, results = await here_and_now(persist=False)

    assert params == table(ELSEWHERE)
    assert results == table(ELSEWHERE)


async def test_now_with_a_record_takes_and_gives_what_a_worker_would(
    database: Database, database_url: str
) -> None:
    registry_of(database, *(t.receiving for t in TRIALS), *(t.returning for t in TRIALS))
    column = ON_POSTGRES if database_url.startswith("postgres") else ELSEWHERE

    params, results = await here_and_now(persist=True)

    assert params == table(column)
    assert results == table(ELSEWHERE)  # its caller reads what was sent, and not the row
