"""What the parts of one term share.

A term is the time in which a replica leads, from its election until it stops or loses its Lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from server_jobs.launches.store import LaunchStore
from server_jobs_operator.cluster.jobs_view import JobsView
from server_jobs_operator.cluster.kube import Kube
from server_jobs_operator.cluster.namespaces import Namespace, Namespaces
from server_jobs_operator.resources.runner_table import RunnerTable
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.events import Recorder
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Term:
    """Made once at the beginning of a term by :meth:`begin`, and given to each of its parts.

    A replica that leads again begins another one, with an empty view and table: what it knew of
    the cluster is out of date by then.
    """

    kube: Kube
    launches: LaunchStore
    settings: OperatorSettings
    metrics: Metrics
    health: Health
    events: Recorder
    """Writes Events."""
    runners: RunnerTable
    """The JobRunners whose spec can be read."""
    namespaces: Namespaces
    """The namespaces that are served, and what can't be read in them."""
    view: JobsView
    """The Kubernetes Jobs of the installation."""

    @classmethod
    def begin(
        cls,
        kube: Kube,
        launches: LaunchStore,
        settings: OperatorSettings,
        metrics: Metrics,
        health: Health,
    ) -> Term:
        """A term on this cluster and this database, in which nothing is known yet."""
        namespaces = Namespaces(settings.namespaces, partial(_tell, health, metrics))
        return cls(
            kube,
            launches,
            settings,
            metrics,
            health,
            events=Recorder(kube, settings.identity),
            runners=RunnerTable(),
            namespaces=namespaces,
            view=JobsView(kube, namespaces, settings.install_id),
        )


def _tell(health: Health, metrics: Metrics, namespaces: Namespaces, changed: Namespace) -> None:
    """Names a namespace that can't be read. Only if that is so of all is the operator unready."""
    problem = namespaces.problem_of(changed)
    if changed is not None:
        metrics.namespace_served.labels(changed).set(problem is None)
        name = f"namespace {changed}"
        health.answers(name) if problem is None else health.degrades(name, problem)
    if namespaces.all_fail:
        health.fails("namespaces", problem or "")
    else:
        health.answers("namespaces")
