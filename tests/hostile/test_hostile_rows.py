"""Hostile rows beside good ones: whoever wrote them, they harm nobody but themselves.

Here one row in seven is tried. ``python -m tests.hostile`` tries all of them, and takes a group
that fails apart until it knows which rows did it.
"""

from collections.abc import Iterator

import pytest

from tests.hostile.places import Kind, PostgresKind, SqliteKind
from tests.hostile.rows import hostile_rows
from tests.hostile.trial import run_trial
from tests.support.cli import process_state  # noqa: F401 - a fixture
from tests.support.servers.hrana import HranaServer

EVERY = 7
SHOWN = 25

NOT_SENT = {"not UTF-8", "a surrogate", "Latin-1", "a cut character", "overlong", "beyond Unicode"}
"""Over Hrana a server sends text as JSON, and answers with an error where it isn't UTF-8."""


@pytest.fixture(params=["today", "old"])
def old(request: pytest.FixtureRequest) -> bool:
    """Whether the tables are an older release's, which refuse hardly anything."""
    return bool(request.param == "old")


@pytest.fixture(params=["sqlite", "postgres", "hrana"])
def kind(request: pytest.FixtureRequest, old: bool) -> Iterator[Kind]:
    kind: PostgresKind | SqliteKind
    if request.param == "postgres":
        kind = PostgresKind(request.getfixturevalue("postgres_server"), old=old)
        yield kind
        kind.close()
        return
    with HranaServer() as server:
        kind = SqliteKind(old=old, server=server if request.param == "hrana" else None)
        yield kind
        kind.close()


@pytest.mark.usefixtures("process_state")
def test_good_rows_are_served_without_any_hostile_ones(kind: Kind) -> None:
    assert run_trial(kind, []).complaints == []


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("process_state")
def test_hostile_rows_harm_nobody_but_themselves(kind: Kind) -> None:
    served = isinstance(kind, SqliteKind) and kind.is_served
    rows = [
        row
        for row in hostile_rows(kind.dialect, huge=False)
        if row.number % EVERY == 0 and not (served and row.value.name in NOT_SENT)
    ]

    report = run_trial(kind, rows, shown=SHOWN)

    assert report.complaints == [], "to find the rows: python -m tests.hostile"
