"""Statements are cut by what they weigh, which for other letters than English ones is more."""

from collections.abc import Sequence

import pytest

from server_jobs.database import Capabilities, Database
from server_jobs.database.compiled import StatementCompiler
from server_jobs.errors import DataRefusedError
from server_jobs.records.outcomes import Completed, Outcome
from server_jobs.records.rows import Claim
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.store import Store
from tests.support.databases.pass_through import PassingDatabase
from tests.support.scene import claim_of, new_job

LIMIT = 200_000
PAYLOAD = 40_000
"""Bytes of one payload: as text of three-byte characters it has a third of that in characters."""


class StrictDatabase(PassingDatabase):
    """Takes no parameter of more bytes than it says, as D1 takes none."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._compiler = StatementCompiler(database.dialect)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(max_statement_bytes=LIMIT)

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        for statement in statements:
            _, parameters = self._compiler.bind(statement)
            if any(len(each.encode()) > LIMIT for each in parameters if isinstance(each, str)):
                raise DataRefusedError("too large")
        return await super()._run(statements)


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀", '\\"'])
async def test_payloads_of_any_letters_are_enqueued_and_settled(
    database: Database, letter: str
) -> None:
    store = Store(StrictDatabase(database))
    text = f'"{letter * (PAYLOAD // len(letter.encode()))}"'

    await store.enqueue([new_job(params=text) for _ in range(20)])
    jobs = await store.claim(claim_of(20))
    outcomes: dict[Claim, Outcome] = {job.claim: Completed(text) for job in jobs}
    settled = await store.settle(outcomes)

    assert len(settled) == 20
    assert {job.params for job in jobs} == {text}
