"""The page on the state machine has every transition of the code."""

import inspect

from server_jobs import schema
from server_jobs.store import transitions
from tests.support.pages.markdown import ROOT, codes, tables

PAGE = ROOT / "docs" / "state-machine.md"


def test_transitions_are_those_of_the_code() -> None:
    (rows,) = tables(PAGE)["Every transition"]
    defined = [
        name
        for name, function in inspect.getmembers(transitions, inspect.isfunction)
        if function.__module__ == transitions.__name__ and not name.startswith("_")
    ]

    assert sorted(codes(row["transition"])[0] for row in rows) == sorted(defined)


def test_columns_that_transitions_are_said_to_change_are_there() -> None:
    (rows,) = tables(PAGE)["Every transition"]
    named = {name for row in rows for name in codes(row["what it changes"]) if name.isidentifier()}

    assert named - set(schema.tables().jobs.c.keys()) == {"max_releases"}
