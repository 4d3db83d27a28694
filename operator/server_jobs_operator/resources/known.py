"""What is known of resources: what is newer, and whether a spec or but a status has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

from server_jobs_operator.cluster.versions import Json, is_older

Key: TypeAlias = tuple[str, str]


class Keeper(Protocol):
    """Who is told of changes of one kind of resource."""

    async def __call__(self, body: Json, /, *, deleted: bool) -> None:
        """One was added or changed, or ``deleted``."""


class KnownResources:
    """What was told last of each resource of one kind, by namespace and name."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Json] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._bodies

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._bodies))

    def get(self, key: Key) -> Json | None:
        """The one of that namespace and name."""
        return self._bodies.get(key)

    def take(self, body: Json) -> bool:
        """Keep what is told → whether its spec is news: not what a list tells late, nor what
        nothing but metadata or status has changed of, by our own writes for instance.
        """
        key = key_of(body)
        known = self._bodies.get(key)
        if known is not None and is_older(body, known):
            return False
        self._bodies[key] = body
        return known is None or not _is_same_spec(body, known)

    def answer(self, body: Json) -> None:
        """Keep the answer to a write of its status.

        If it was edited meanwhile, we are about to be told; taken for known it would be ignored.
        """
        known = self._bodies.get(key_of(body))
        if known is not None and _is_same_spec(body, known):
            self._bodies[key_of(body)] = body

    def drop(self, key: Key) -> None:
        """It is gone."""
        self._bodies.pop(key, None)

    async def replace(self, bodies: Sequence[Json], changed: Keeper) -> None:
        """These there are, and no others: tell the keeper so."""
        listed = {key_of(body) for body in bodies}
        gone = [body for key, body in self._bodies.items() if key not in listed]
        for body in bodies:
            await changed(body, deleted=False)
        for body in gone:
            await changed(body, deleted=True)


def key_of(body: Json) -> Key:
    """Namespace and name."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


def generation_of(body: Json) -> int:
    """Of its spec."""
    return int(body["metadata"].get("generation") or 0)


def _is_same_spec(body: Json, known: Json) -> bool:
    names = ("uid", "generation")
    return all(body["metadata"].get(name) == known["metadata"].get(name) for name in names)
