"""Serves JobRunners: keeps the table of valid ones, and writes the status of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from server_jobs_operator.cluster.kube import KubeError
from server_jobs_operator.cluster.names import resources_path
from server_jobs_operator.cluster.namespaces import Namespace
from server_jobs_operator.cluster.versions import Json
from server_jobs_operator.launches.sample import Refusal, RefusalKind, sample_refusal
from server_jobs_operator.resources.conditions import Condition, changes, updated
from server_jobs_operator.resources.known import KnownResources, generation_of, key_of
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.resources.specs import JobRunnerSpec, problems_of
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator.runners")

PLURAL = "jobrunners"

GATHER_SECONDS = 0.2
"""The statuses are written at most once in this time, however many changes arrive."""


class JobRunners:
    """Keeps the table of JobRunners, and the status of each.

    ``refusal`` says why a JobRunner's Jobs are refused at present, or None if they aren't.
    """

    def __init__(self, term: Term, refusal: Callable[[JobRunner], Refusal | None]) -> None:
        self._term = term
        self._refusal = refusal
        self._news = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._known = KnownResources()
        self._invalid: dict[tuple[str, str], str] = {}
        self._accepted: dict[tuple[str, str], int] = {}
        """The generation of each JobRunner whose sample was taken."""

    async def changed(self, body: Json, *, deleted: bool) -> None:
        """Updates the table: the JobRunner with this body was added or changed, or ``deleted``."""
        key = key_of(body)
        if deleted:
            self._known.drop(key)
            self._invalid.pop(key, None)
            self._accepted.pop(key, None)
            self._term.runners.drop(*key)
        elif not self._known.take(body):
            return
        else:
            try:
                spec = JobRunnerSpec.model_validate(body.get("spec", {}))
            except ValidationError as error:
                self._invalid[key] = problems_of(error)
                self._term.runners.drop(*key)
                _log.error("JobRunner %s/%s: %s", *key, self._invalid[key])
            else:
                self._invalid.pop(key, None)
                self._term.runners.put(JobRunner.of(body, spec))
        self._news.set()  # another JobRunner may no longer be in conflict with it

    async def replace(self, bodies: Sequence[Json], namespace: Namespace) -> None:
        """Updates the table from a complete list of a namespace's JobRunners."""
        await self._known.replace(bodies, namespace, self.changed)

    async def run(self) -> None:
        """Writes statuses after each change, until it is cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.refresh()
            await asyncio.sleep(GATHER_SECONDS)

    async def refresh(self) -> None:
        """Writes each status that has changed."""
        async with self._one_at_a_time:
            for key in self._known:
                try:
                    await self._write(key)
                except KubeError as error:
                    if not error.not_found:
                        _log.warning("JobRunner %s/%s: can't write its status: %s", *key, error)
                    if error.away:
                        return  # the API server wouldn't answer for the others either
                except Exception:  # noqa: BLE001 - one of them never stops the others
                    text = "JobRunner %s/%s: an unexpected error in writing its status"
                    _log.exception(text, *key)

    async def _write(self, key: tuple[str, str]) -> None:
        body = self._known.get(key)
        if body is None:
            return
        former = body.get("status", {})
        before = former.get("conditions", ())
        conditions = updated(before, await self._conditions(key), generation_of(body))
        status = {
            "observedGeneration": generation_of(body),
            "conditions": conditions,
            "running": self._term.view.in_flight(*key),
        }
        if status == {name: former.get(name) for name in status}:
            return
        written = await self._term.kube.patch(
            resources_path(PLURAL, *key, status=True), {"status": status}
        )
        for changed in changes(before, conditions):
            if (changed["type"], changed["reason"]) in _TROUBLE:
                reason = _TROUBLE[changed["type"], changed["reason"]]
                self._term.events.about_resource("JobRunner", body, reason, changed["message"])
        self._known.answer(written)

    async def _conditions(self, key: tuple[str, str]) -> list[Condition]:
        runner = self._term.runners.get(*key)
        if runner is None:
            problem = self._invalid.get(key, "")
            return [Condition("Ready", False, "InvalidSpec", problem)]
        winner = self._term.runners.winner_over(runner)
        refusal = self._refusal(runner)
        template = _refused(refusal) if refusal else await self._template(runner)
        text = "no other JobRunner serves the same jobs"
        conflict = Condition("Conflict", False, "NoOverlap", text)
        ready = Condition("Ready", True, "Serving", f"serves {', '.join(runner.spec.queues)}")
        if winner is not None:
            text = f"JobRunner {winner.namespace}/{winner.name} is older and serves the same jobs"
            conflict = Condition("Conflict", True, "OlderServes", text)
            ready = Condition("Ready", False, "Conflict", text)
        elif template.holds is False:
            ready = Condition("Ready", False, template.reason, template.message)
        elif runner.spec.paused:
            ready = _paused(self._term.view.in_flight(*key))
        return [ready, conflict, template, _launching(refusal)]

    async def _template(self, runner: JobRunner) -> Condition:
        """Whether the API server would accept a Job of this JobRunner, found out by a dry run.

        That it would is kept until the spec changes. Otherwise, each refresh asks again.
        """
        if self._accepted.get(runner.key) != runner.generation:
            try:
                refusal = await sample_refusal(self._term.kube, runner, self._term.settings)
            except KubeError as error:
                return Condition("TemplateValid", None, "NotAsked", f"the dry run failed: {error}")
            if refusal is not None:
                return _refused(refusal)
            self._accepted[runner.key] = runner.generation
        text = "the API server accepts a Job of it (dry run)"
        return Condition("TemplateValid", True, "Accepted", text)


_TROUBLE = {
    ("Ready", "InvalidSpec"): "InvalidSpec",
    ("Conflict", "OlderServes"): "Conflict",
    ("TemplateValid", "Refused"): "TemplateRefused",
    ("TemplateValid", "Malformed"): "TemplateMalformed",
}
"""An Event with this reason is written when a condition (type, reason) appears."""


def _paused(running: int) -> Condition:
    if not running:
        return Condition("Ready", False, "Paused", "spec.paused is set, so it claims nothing")
    text = f"spec.paused is set, so it claims nothing; {running} in flight continue"
    return Condition("Ready", False, "Draining", text)


def _refused(refusal: Refusal) -> Condition:
    # A used-up quota or a missing permission says nothing about the template.
    holds = None if refusal.kind is RefusalKind.FORBIDDEN else False
    return Condition("TemplateValid", holds, str(refusal.kind), refusal.text)


def _launching(refusal: Refusal | None) -> Condition:
    if refusal is None:
        return Condition("Launching", True, "Unhindered", "the API server accepts its Jobs")
    return Condition("Launching", False, "Refused", refusal.text)
