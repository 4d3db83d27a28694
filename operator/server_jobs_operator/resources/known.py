"""Remembers the latest body of each resource, and tells whether its spec has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

from server_jobs_operator.cluster.namespaces import Namespace
from server_jobs_operator.cluster.versions import Json, is_older

Key: TypeAlias = tuple[str, str]


class Keeper(Protocol):
    """A callback that is told of each change of one kind of resource."""

    async def __call__(self, body: Json, /, *, deleted: bool) -> None:
        """The resource with this body was added or changed, or was ``deleted``."""


class KnownResources:
    """The latest body of each resource of one kind, by namespace and name."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Json] = {}
        self._listed: set[Namespace] = set()

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._bodies))

    def get(self, key: Key) -> Json | None:
        """The body of a resource → None if there is no such resource."""
        return self._bodies.get(key)

    def take(self, body: Json) -> bool:
        """Keeps a body → whether the spec changed.

        A body from a late list is no change, and isn't kept. A change of metadata or status alone,
        by our own writes for instance, is no change either.
        """
        key = key_of(body)
        known = self._bodies.get(key)
        if known is not None and is_older(body, known):
            return False
        self._bodies[key] = body
        return known is None or not _is_same_spec(body, known)

    def answer(self, body: Json) -> None:
        """Keeps the body that a write of the status returned.

        If its spec was edited meanwhile, the body isn't kept: the watch is about to show that
        edit, and :meth:`take` would ignore it as known.
        """
        known = self._bodies.get(key_of(body))
        if known is not None and _is_same_spec(body, known):
            self._bodies[key_of(body)] = body

    def is_gone(self, key: Key) -> bool:
        """Whether there is no such resource, by a list of its namespace."""
        return key not in self._bodies and not self._listed.isdisjoint({None, key[0]})

    def drop(self, key: Key) -> None:
        """Forgets a resource that was deleted."""
        self._bodies.pop(key, None)

    async def replace(self, bodies: Sequence[Json], namespace: Namespace, changed: Keeper) -> None:
        """Calls ``changed`` for each body on a complete list, and for each resource not on it.

        The list is that of a namespace; None is the whole cluster.
        """
        self._listed.add(namespace)
        listed = {key_of(body) for body in bodies}
        gone = [
            body
            for key, body in self._bodies.items()
            if key not in listed and namespace in {None, key[0]}
        ]
        for body in bodies:
            await changed(body, deleted=False)
        for body in gone:
            await changed(body, deleted=True)


def key_of(body: Json) -> Key:
    """The namespace and the name of a resource."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


def generation_of(body: Json) -> int:
    """The generation of a resource's spec, 0 if it has none."""
    return int(body["metadata"].get("generation") or 0)


def _is_same_spec(body: Json, known: Json) -> bool:
    names = ("uid", "generation")
    return all(body["metadata"].get(name) == known["metadata"].get(name) for name in names)
