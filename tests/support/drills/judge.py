"""Judging a drill by what is left of it: rows, the audit of their changes, and side effects.

Pure: what it is given may come from a drill or be made up by a test of the judge.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.support.databases.audit import Row, Transition
from tests.support.drills.app import Effect

FINISHED = {"completed", "failed", "cancelled"}


@dataclass(frozen=True)
class History:
    """All that is known of one job."""

    row: Row
    transitions: Sequence[Transition]
    effects: Sequence[Effect]

    @property
    def claims(self) -> list[Transition]:
        return [step for step in self.transitions if step.became == "running"]


def histories(
    rows: Iterable[Row], transitions: Iterable[Transition], effects: Iterable[Effect]
) -> list[History]:
    steps, done = defaultdict(list), defaultdict(list)
    for step in transitions:
        steps[step.job_id].append(step)
    for effect in effects:
        done[effect.job_id].append(effect)
    return [History(row, steps[row.job_id], done[row.job_id]) for row in rows]


def complaints(history: History) -> list[str]:
    """What must not be, of one job."""
    found = [*_of_its_end(history), *_of_its_attempts(history), *_of_its_effects(history)]
    if history.row.status == "completed":
        found += _of_its_result(history)
    return [f"job {history.row.job_id}: {text}" for text in found]


def _of_its_end(history: History) -> Iterator[str]:
    row = history.row
    if row.status not in FINISHED:
        yield f"it never ended: it is {row.status}"
    endings = [step for step in history.transitions if step.became in FINISHED]
    if row.status in FINISHED and len(endings) != 1:
        yield f"it ended {len(endings)} times, not once"
    for step in history.transitions:
        if step.was in FINISHED:
            yield f"it was changed after its end: {step}"
    if row.status == "failed" and row.attempt != row.max_attempts:
        yield f"it failed with {row.max_attempts - row.attempt} attempts left"


def _of_its_attempts(history: History) -> Iterator[str]:
    """Each claim has a new fence and counts; only one that began nothing may be given back."""
    began = {effect.fence for effect in history.effects if effect.what == "began"}
    status, fence, attempt = "pending", 0, 0
    for step in history.transitions:
        if step.was != status:
            yield f"it was {status}, and yet: {step}"
        if step.became == "running":
            if (step.fence, step.attempt) != (fence + 1, attempt + 1):
                yield f"a claim after fence {fence} and attempt {attempt} is {step}"
        elif step.fence != fence:
            yield f"the fence changed without a claim: {step}"
        elif step.attempt == attempt - 1:
            if fence in began:
                yield f"an attempt that had begun was given back: {step}"
        elif step.attempt != attempt:
            yield f"attempts went from {attempt} to {step.attempt}: {step}"
        status, fence, attempt = step.became, step.fence, step.attempt
    row = history.row
    if (row.status, row.fence, row.attempt) != (status, fence, attempt):
        yield f"the row doesn't agree with its audit, {(status, fence, attempt)}: {row}"
    if attempt > row.max_attempts:
        yield f"attempt {attempt} of {row.max_attempts}"


def _of_its_effects(history: History) -> Iterator[str]:
    """A handler began once per claim at most, under that claim's fence and attempt."""
    claims = {(step.fence, step.attempt) for step in history.claims}
    for what in ("began", "ended"):
        here = [effect for effect in history.effects if effect.what == what]
        for fence, times in Counter(effect.fence for effect in here).items():
            if times > 1:
                yield f"{what} {times} times under fence {fence}"
    runs = {effect.run for effect in history.effects if effect.what == "began"}
    for effect in history.effects:
        if (effect.fence, effect.attempt) not in claims:
            yield f"an effect without a claim: {effect}"
        if effect.run not in runs:
            yield f"ended and never began: {effect}"


def _of_its_result(history: History) -> Iterator[str]:
    """The result is that of the very handler that ran under the row's fence."""
    row = history.row
    receipt = json.loads(row.result or "{}")
    if (receipt.get("fence"), receipt.get("attempt")) != (row.fence, row.attempt):
        yield f"its result was made under another claim: {row}"
    returned = [e.run for e in history.effects if e.what == "ended" and e.fence == row.fence]
    if returned != [receipt.get("run")]:
        yield f"its result is none that was returned under its fence, {returned}: {row}"
