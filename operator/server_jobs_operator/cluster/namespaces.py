"""The namespaces that the operator serves, and what it can't read in some of them at present."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

_log = logging.getLogger("server_jobs.operator.namespaces")

Namespace = str | None
"""The name of a namespace; None is the whole cluster."""


class Namespaces:
    """Keeps what is wrong with each namespace, so that one of them never stops the others.

    ``names`` of None is the whole cluster. ``told`` is called when a namespace gets another problem
    or loses its last one.
    """

    def __init__(
        self, names: tuple[str, ...] | None, told: Callable[[Namespaces, Namespace], None]
    ) -> None:
        self._names: tuple[Namespace, ...] = tuple(dict.fromkeys(names or (None,)))
        self._told = told
        self._problems: dict[Namespace, dict[str, str]] = {name: {} for name in self._names}

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def problem_of(self, namespace: Namespace) -> str | None:
        """What is wrong with a namespace, in one line → None if all of it can be read."""
        return "; ".join(dict.fromkeys(self._problems[namespace].values())) or None

    def can_read(self, namespace: Namespace, *whats: str) -> bool:
        """Whether none of these is known to be unreadable in a namespace."""
        return self._problems[namespace].keys().isdisjoint(whats)

    @property
    def all_fail(self) -> bool:
        """Whether something is wrong with every namespace."""
        return all(self._problems.values())

    def fails(self, namespace: Namespace, what: str, problem: str) -> None:
        """Notes that ``what`` can't be read in a namespace at present, its Jobs for instance."""
        problems = self._problems[namespace]
        if what not in problems and namespace is not None:
            _log.error("namespace %s: can't read its %s: %s", namespace, what, problem)
        if problems.get(what) != problem:
            problems[what] = problem
            self._told(self, namespace)

    def answers(self, namespace: Namespace, what: str) -> None:
        """Notes that ``what`` can be read in a namespace."""
        problems = self._problems[namespace]
        if problems.pop(what, None) is None:
            return
        if namespace is not None:
            _log.info("namespace %s: its %s can be read again", namespace, what)
        self._told(self, namespace)

    def forget(self) -> None:
        """Takes back all problems: the term is over, and the next leader finds out for itself."""
        for namespace, problems in self._problems.items():
            problems.clear()
            self._told(self, namespace)
