"""The judge of the drills finds what they are there to find."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.databases.audit import Row, Transition
from tests.support.drills.app import Effect
from tests.support.drills.judge import History, complaints

RUN_1, RUN_2 = "first", "second"


def step(was: str, became: str, fence: int, attempt: int) -> Transition:
    return Transition("a", was, became, fence, attempt)


def effect(what: str, fence: int, attempt: int, run: str) -> Effect:
    assert what in {"began", "ended"}
    return Effect(what, "a", fence, attempt, run, 0.0)  # type: ignore[arg-type]


def receipt(run: str, fence: int, attempt: int) -> str:
    return json.dumps({"run": run, "fence": fence, "attempt": attempt})


LOST_ONCE = History(
    Row("a", "completed", 2, 2, 8, receipt(RUN_2, 2, 2)),
    [
        step("pending", "running", 1, 1),
        step("running", "pending", 1, 1),
        step("pending", "running", 2, 2),
        step("running", "completed", 2, 2),
    ],
    # The first one came back, too late.
    [
        effect("began", 1, 1, RUN_1),
        effect("began", 2, 2, RUN_2),
        effect("ended", 2, 2, RUN_2),
        effect("ended", 1, 1, RUN_1),
    ],
)
NEVER_BEGUN = History(
    Row("a", "completed", 2, 1, 8, receipt(RUN_2, 2, 1)),
    [
        step("pending", "running", 1, 1),
        step("running", "pending", 1, 0),
        step("pending", "running", 2, 1),
        step("running", "completed", 2, 1),
    ],
    [effect("began", 2, 1, RUN_2), effect("ended", 2, 1, RUN_2)],
)


@pytest.mark.parametrize("history", [LOST_ONCE, NEVER_BEGUN], ids=["lost once", "never begun"])
def test_a_history_that_may_be_is_accepted(history: History) -> None:
    assert complaints(history) == []


def row(**changes: object) -> Callable[[History], History]:
    return lambda history: replace(history, row=replace(history.row, **changes))  # type: ignore[arg-type]


def steps(change: Callable[[list[Transition]], list[Transition]]) -> Callable[[History], History]:
    return lambda history: replace(history, transitions=change(list(history.transitions)))


def doings(change: Callable[[list[Effect]], list[Effect]]) -> Callable[[History], History]:
    return lambda history: replace(history, effects=change(list(history.effects)))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (row(status="running"), "it never ended"),
        (row(status="pending"), "it never ended"),
        (steps(lambda s: s[:-1]), "it ended 0 times"),
        (steps(lambda s: [*s, step("completed", "completed", 2, 2)]), "it ended 2 times"),
        (steps(lambda s: [*s, step("completed", "pending", 2, 2)]), "changed after its end"),
        (row(status="failed"), "it failed with 6 attempts left"),
        (row(attempt=3), "doesn't agree with its audit"),
        (row(fence=1), "doesn't agree with its audit"),
        (row(max_attempts=1), "attempt 2 of 1"),
        (steps(lambda s: s[1:]), "it was pending, and yet"),
        (steps(lambda s: [*s[:2], step("pending", "running", 1, 2), s[3]]), "a claim after"),
        (steps(lambda s: [*s[:2], step("pending", "running", 2, 1), s[3]]), "a claim after"),
        (steps(lambda s: [*s[:3], step("running", "completed", 3, 2)]), "without a claim"),
        (steps(lambda s: [s[0], step("running", "pending", 1, 0), *s[2:]]), "was given back"),
        (steps(lambda s: [s[0], step("running", "pending", 1, 5), *s[2:]]), "attempts went"),
        (doings(lambda e: [*e, effect("began", 2, 2, "third")]), "began 2 times under fence 2"),
        (doings(lambda e: [*e, effect("ended", 2, 2, RUN_2)]), "ended 2 times under fence 2"),
        (doings(lambda e: [*e, effect("began", 3, 3, "third")]), "an effect without a claim"),
        (doings(lambda e: e[1:]), "ended and never began"),
        (doings(lambda e: [e[0], e[1], e[3]]), "none that was returned under its fence"),
        (row(result=receipt(RUN_1, 2, 2)), "none that was returned under its fence"),
        (row(result=receipt(RUN_2, 1, 1)), "made under another claim"),
        (row(result=None), "made under another claim"),
    ],
)
def test_a_history_that_must_not_be_is_complained_of(
    spoil: Callable[[History], History], complaint: str
) -> None:
    found = complaints(spoil(LOST_ONCE))

    assert any(complaint in text for text in found), found
