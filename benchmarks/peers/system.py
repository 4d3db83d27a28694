"""Defines what a system must offer in order to be measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    # Workers import this module too, so it mustn't make them heavier.
    from benchmarks.support.databases import Kind


class Task(TypedDict):
    """Defines the params of the job that all systems run."""

    to: str
    number: int
    sent: float


def task(number: int, sent: float = 0.0) -> Task:
    """Make a small document, as most params are."""
    return {"to": "somebody@example.org", "number": number, "sent": sent}


@dataclass(frozen=True)
class Worker:
    """Describes one way to start a worker process: a Python module and its arguments."""

    settings: str
    arguments: tuple[str, ...]
    durable: bool = True
    """Whether a commit survives a power cut. Otherwise the worker is shown, but not compared."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", *self.arguments]


class Producer(Protocol):
    """Enqueues jobs, as a connected client."""

    async def enqueue(self, task: Task) -> object:
        """Enqueue one job, committed before this returns."""

    async def enqueue_many(self, tasks: Sequence[Task]) -> object:
        """Enqueue many in the system's own way; one by one if it has none."""


class System(Protocol):
    """Offers a job queue on a database to the comparison."""

    @property
    def name(self) -> str:
        """The system's name."""

    @property
    def distribution(self) -> str:
        """The system's name on PyPI."""

    @property
    def kind(self) -> Kind:
        """The database that it is measured on."""

    @property
    def workers(self) -> Sequence[Worker]:
        """The ways to run its worker. The first one has default settings, except for its log."""

    @property
    def has_bulk(self) -> bool:
        """Whether it can enqueue many at once."""

    @property
    def unfinished(self) -> str:
        """SQL that finds a row while there is a job that isn't recorded as done."""

    async def set_up(self, url: str) -> None:
        """Make the tables."""

    def producer(self, url: str) -> AbstractAsyncContextManager[Producer]:
        """Make a client, which is closed at the end."""
