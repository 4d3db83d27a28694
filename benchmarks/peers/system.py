"""What a system has to offer in order to be measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    # Workers import this module too, and are to be no heavier for it.
    from benchmarks.support.databases import Kind


class Task(TypedDict):
    """The params of the one job that all systems run."""

    to: str
    number: int
    sent: float


def task(number: int, sent: float = 0.0) -> Task:
    """A small document, as most params are."""
    return {"to": "somebody@example.org", "number": number, "sent": sent}


@dataclass(frozen=True)
class Worker:
    """One way to start a worker process: a Python module and its arguments, as a user would."""

    settings: str
    arguments: tuple[str, ...]
    durable: bool = True
    """Whether a commit survives a power cut. Where it doesn't, the worker is shown, no more."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", *self.arguments]


class Producer(Protocol):
    """A connected client."""

    async def enqueue(self, task: Task) -> object:
        """Enqueue one job, committed before this returns."""

    async def enqueue_many(self, tasks: Sequence[Task]) -> object:
        """Enqueue many by the system's own way to do that; one by one where it has none."""


class System(Protocol):
    """A job queue on a database."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def distribution(self) -> str:
        """What it is called on PyPI."""

    @property
    def kind(self) -> Kind:
        """The database that it is measured on."""

    @property
    def workers(self) -> Sequence[Worker]:
        """How its worker is run. The first one is the worker as it comes, but for its log."""

    @property
    def has_bulk(self) -> bool:
        """Whether it can enqueue many at once."""

    @property
    def unfinished(self) -> str:
        """SQL that finds a row while there is a job that isn't recorded as done."""

    async def set_up(self, url: str) -> None:
        """Make the tables."""

    def producer(self, url: str) -> AbstractAsyncContextManager[Producer]:
        """A client, closed at the end."""
