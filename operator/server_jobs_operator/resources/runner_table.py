"""The JobRunners that exist, and which of them may claim: of two that overlap, the older one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from server_jobs_operator.cluster.versions import Json
from server_jobs_operator.resources.known import generation_of, key_of
from server_jobs_operator.resources.specs import JobRunnerSpec


@dataclass(frozen=True, slots=True)
class JobRunner:
    """A JobRunner whose spec is valid."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    """When it was created, as the API server writes it. As text it sorts by time."""
    spec: JobRunnerSpec

    @classmethod
    def of(cls, body: Json, spec: JobRunnerSpec) -> JobRunner:
        """The JobRunner of a body from the API server, whose spec has been read already."""
        metadata = body["metadata"]
        return cls(
            *key_of(body),
            uid=metadata["uid"],
            generation=generation_of(body),
            created=metadata["creationTimestamp"],
            spec=spec,
        )

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and its name."""
        return self.namespace, self.name

    def overlaps(self, other: JobRunner) -> bool:
        """Whether there can be a job that both of them serve."""
        if not set(self.spec.queues) & set(other.spec.queues):
            return False
        ours, theirs = self.spec.job_names, other.spec.job_names
        return ours is None or theirs is None or bool(set(ours) & set(theirs))


class RunnerTable:
    """The JobRunners of all namespaces that the operator serves."""

    def __init__(self) -> None:
        self._runners: dict[tuple[str, str], JobRunner] = {}
        self._oldest_first: list[JobRunner] = []
        self._serving: list[JobRunner] | None = None
        self._gives_way: dict[tuple[str, str], JobRunner] | None = None

    def __iter__(self) -> Iterator[JobRunner]:
        """The JobRunners, oldest first."""
        return iter(self._oldest_first)

    def put(self, runner: JobRunner) -> None:
        """Adds a JobRunner, or replaces its former generation."""
        self._runners[runner.key] = runner
        self._has_changed()

    def drop(self, namespace: str, name: str) -> None:
        """Removes a JobRunner that was deleted or whose spec is invalid."""
        self._runners.pop((namespace, name), None)
        self._has_changed()

    def get(self, namespace: str, name: str) -> JobRunner | None:
        """The JobRunner of that name → None if there is none with a valid spec."""
        return self._runners.get((namespace, name))

    def winner_over(self, runner: JobRunner) -> JobRunner | None:
        """The older JobRunner that serves the same jobs → None if this one may serve them.

        An older one that must itself give way to another doesn't count.
        """
        return self._winners().get(runner.key)

    def serving(self) -> list[JobRunner]:
        """The JobRunners that may claim, oldest first. It is computed once after each change."""
        if self._serving is None:
            gives_way = self._winners()
            self._serving = [
                runner for runner in self if not runner.spec.paused and runner.key not in gives_way
            ]
        return self._serving

    def _winners(self) -> dict[tuple[str, str], JobRunner]:
        """Who gives way, and to whom, computed once after each change.

        One walk from the oldest to the youngest: each is compared only with those that have won
        one of its queues so far.
        """
        if self._gives_way is None:
            self._gives_way = {}
            winners_of: defaultdict[str, list[JobRunner]] = defaultdict(list)
            for runner in self:
                queues = dict.fromkeys(runner.spec.queues)
                rivals = [older for queue in queues for older in winners_of[queue]]
                over = min(filter(runner.overlaps, rivals), key=_age, default=None)
                if over is not None:
                    self._gives_way[runner.key] = over
                    continue
                for queue in queues:
                    winners_of[queue].append(runner)
        return self._gives_way

    def _has_changed(self) -> None:
        self._oldest_first = sorted(self._runners.values(), key=_age)
        self._serving = self._gives_way = None


def _age(runner: JobRunner) -> tuple[str, str]:
    """By which JobRunners are sorted, oldest first."""
    return runner.created, runner.uid


def place_of(worker_id: str | None, prefix: str) -> tuple[str, str]:
    """The namespace and name of the JobRunner in a worker's id → two empty texts if it has none.

    ``prefix`` is the part of the id before them: see ``OperatorSettings.worker_prefix``.
    """
    parts = (worker_id or "").removeprefix(prefix).split("/")
    return (parts[0], parts[1]) if len(parts) >= 2 else ("", "")
