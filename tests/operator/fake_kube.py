"""A stand-in of the API server: what the operator's few calls do, on objects in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from typing import Any

from server_jobs_operator.cluster.kube import APPLY, MERGE, Json, Kube, KubeError
from server_jobs_operator.cluster.names import API_VERSION, group_path

Refusal = tuple[str, str, KubeError]


class FakeKube(Kube):
    """Objects by path. ``fails`` makes calls fail; ``creating`` holds creations up."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {
            "/version": {},
            group_path(): {"resources": [{"name": "jobrunners"}, {"name": "jobschedules"}]},
        }
        self.calls: list[tuple[str, str]] = []
        self.creating = asyncio.Event()
        self.creating.set()
        self._refusals: list[Refusal] = []
        self._versions = itertools.count(1)
        self._changes: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Condition()

    # ── for tests ────────────────────────────────────────────────────────────────────────────

    def fails(self, verb: str, part: str, status: int, message: str = "", reason: str = "") -> None:
        """From now on, such calls of paths with that part fail."""
        self._refusals.append((verb, part, KubeError(verb, part, status, reason, message)))

    def refuses(self, message: str) -> None:
        """From now on, no Job is taken, a dry run's included."""
        for verb in ("create", "dry run"):
            self.fails(verb, "/jobs/jobs", 403, message, "Forbidden")

    def recovers(self) -> None:
        """Nothing fails any more."""
        self._refusals.clear()

    def all(self, plural: str) -> list[Json]:
        """All objects of a kind, the oldest first."""
        return [found for path, found in self.objects.items() if path.split("/")[-2] == plural]

    def events(self) -> list[tuple[str, str]]:
        """Kind of what they are about, and reason, of all Events."""
        return [(one["involvedObject"]["kind"], one["reason"]) for one in self.all("events")]

    def called(self, verb: str, part: str = "") -> int:
        """How often such a path was asked so."""
        return sum(verb == what and part in path for what, path in self.calls)

    async def change(self, path: str, change: Callable[[Json], Any]) -> None:
        """Change an object as somebody else does."""
        change(self.objects[path])
        await self._stored("MODIFIED", path)

    # ── the calls ────────────────────────────────────────────────────────────────────────────

    async def get(self, path: str) -> Json:
        self._ask("get", path)
        return self._found("get", path)

    async def list(
        self, path: str, selector: str = "", trim: Callable[[Json], Json] = lambda item: item
    ) -> tuple[list[Json], str]:
        self._ask("list", path)
        items = [
            trim(deepcopy(item))
            for at, item in self.objects.items()
            if _within(at, path) and _selected(item, selector)
        ]
        return items, str(next(self._versions))

    async def watch(
        self, path: str, selector: str, resource_version: str
    ) -> AsyncIterator[tuple[str, Json]]:
        self._ask("watch", path)
        seen = int(resource_version)
        while True:
            for version, kind, at, item in list(self._changes):
                if version > seen:
                    seen = version
                    if _within(at, path) and _selected(item, selector):
                        yield kind, deepcopy(item)
            async with self._changed:
                if not any(version > seen for version, *_ in self._changes):
                    await self._changed.wait()

    async def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        self._ask("dry run" if dry_run else "create", path)
        if not dry_run and not path.endswith("/events"):
            await self.creating.wait()
        at = f"{path}/{body['metadata']['name']}"
        if at in self.objects and not dry_run:
            raise KubeError("create", path, 409, "AlreadyExists", f"{at} is there")
        created = deepcopy(body)
        created["metadata"] |= {
            "uid": f"uid-{next(self._versions)}",
            "namespace": path.split("/namespaces/")[-1].split("/")[0],
            "creationTimestamp": "2027-01-01T12:00:00Z",
        }
        if dry_run:
            return created
        self.objects[at] = created
        return await self._stored("ADDED", at)

    async def replace(self, path: str, body: Json) -> Json:
        self._ask("update", path)
        now = self._found("update", path)["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion") != now:
            raise KubeError("update", path, 409, "Conflict", "the object has been modified")
        self.objects[path] = deepcopy(body)
        return await self._stored("MODIFIED", path)

    async def patch(
        self, path: str, body: Json, *, kind: str = MERGE, manager: str | None = None
    ) -> Json:
        self._ask("patch", path)
        at = path.removesuffix("/status")
        if at not in self.objects and kind == APPLY:
            collection = at.rpartition("/")[0]
            return await self.create(collection, body)
        self._found("patch", at)
        _merge(self.objects[at], body)
        return await self._stored("MODIFIED", at)

    async def delete(self, path: str, uid: str) -> bool:
        self._ask("delete", path)
        if self.objects.get(path, {}).get("metadata", {}).get("uid") != uid:
            return False
        await self._stored("DELETED", path)
        del self.objects[path]
        return True

    # ── within ───────────────────────────────────────────────────────────────────────────────

    def _ask(self, verb: str, path: str) -> None:
        self.calls.append((verb, path))
        for what, part, error in self._refusals:
            if what == verb and part in path:
                raise error

    def _found(self, verb: str, path: str) -> Json:
        if path not in self.objects:
            raise KubeError(verb, path, 404, "NotFound", f"{path} is not there")
        return deepcopy(self.objects[path])

    async def _stored(self, kind: str, path: str) -> Json:
        version = next(self._versions)
        stored = self.objects[path]
        stored["metadata"]["resourceVersion"] = str(version)
        self._changes.append((version, kind, path, deepcopy(stored)))
        async with self._changed:
            self._changed.notify_all()
        return deepcopy(stored)


def job_runner_body(
    name: str = "default", *, namespace: str = "jobs", generation: int = 1, **fields: Any
) -> Json:
    """A JobRunner as the API server tells of it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "JobRunner",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-of-{namespace}-{name}",
            "generation": generation,
            "creationTimestamp": "2027-01-01T12:00:00Z",
        },
        "spec": {"image": "jobs:1", "database": {"secretRef": {"name": "database"}}, **fields},
    }


def _within(path: str, collection: str) -> bool:
    """Whether an object is of a collection: of one namespace, or of all."""
    parent = path.rpartition("/")[0]
    if "/namespaces/" in collection or "/namespaces/" not in parent:
        return parent == collection
    head, _, tail = parent.partition("/namespaces/")
    return f"{head}/{tail.partition('/')[2]}" == collection


def _selected(item: Json, selector: str) -> bool:
    label, _, value = selector.partition("=")
    return not selector or (item["metadata"].get("labels") or {}).get(label) == value


def _merge(into: Json, change: Json) -> None:
    for name, value in change.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = deepcopy(value)
