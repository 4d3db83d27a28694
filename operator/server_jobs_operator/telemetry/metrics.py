"""The operator's metrics for Prometheus. docs/kubernetes.md explains each of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server_jobs_operator.cluster.reasons import Reason

OTHER_QUEUES = "(others)"
"""The label of the queues for which there is no room."""


class Metrics:
    """The metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of_runner = ("namespace", "runner")
        self.leader = self._gauge("leader", "1 on the replica that leads")
        self.queue_depth = self._gauge("queue_depth", "Jobs that wait in a queue", "queue")
        self.queue_oldest = self._gauge(
            "queue_oldest_seconds", "How long the oldest due job has waited", "queue"
        )
        self.claims = self._counter("claims", "Records that were claimed", *of_runner)
        self.launches = self._counter(
            "launches", "Kubernetes Jobs that were created or refused", *of_runner, "outcome"
        )
        self.reasons = self._counter("reasons", "Why launches went wrong", "reason")
        for reason in Reason:
            self.reasons.labels(str(reason))  # shown as 0, so that the first one is an increase
        self.running = self._gauge("running_jobs", "Kubernetes Jobs in flight", *of_runner)
        self.launch_seconds = Histogram(
            "server_jobs_launch_seconds",
            "Time from the claim of a record to its Kubernetes Job",
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )
        self.namespace_served = self._gauge(
            "namespace_served", "0 for a namespace that can't be read at present", "namespace"
        )
        self._reconciled_at: float | None = None
        self.reconcile_lag = self._gauge(
            "reconcile_lag_seconds", "Time since rows and Jobs were last compared"
        )
        # Computed when Prometheus reads it, so that it grows even if every loop is stuck.
        self.reconcile_lag.set_function(self._lag)
        self.api_errors = self._counter(
            "api_errors",
            "Requests that the API server refused, or didn't answer (code 0)",
            "verb",
            "code",
        )
        self.fired = self._counter("schedules_fired", "Jobs that schedules have enqueued")

    def api_error(self, verb: str, status: int) -> None:
        """Counts a failed request of the API; status 0 means that nothing answered."""
        self.api_errors.labels(verb, str(status)).inc()

    def show_queues(self, depth: Mapping[str, int], oldest: Mapping[str, float]) -> None:
        """Shows how many jobs wait in each queue, and for how many seconds the oldest has."""
        self.queue_depth.clear()
        self.queue_oldest.clear()
        for queue, count in depth.items():
            self.queue_depth.labels(queue).set(count)
            self.queue_oldest.labels(queue).set(oldest.get(queue, 0.0))

    def show_running(self, running: Mapping[tuple[str, str], int]) -> None:
        """Shows how many Jobs are in flight, by (namespace, JobRunner), and no others."""
        self.running.clear()
        for key, count in running.items():
            self.running.labels(*key).set(count)

    def reconciled(self) -> None:
        """Notes that rows and Jobs were compared just now."""
        self._reconciled_at = time.monotonic()

    def end_term(self) -> None:
        """Clears what only a leader knows: queues, namespaces, Jobs, the time of comparing."""
        self.show_queues({}, {})
        self.show_running({})
        self.namespace_served.clear()
        self._reconciled_at = None

    def _lag(self) -> float:
        return 0.0 if self._reconciled_at is None else time.monotonic() - self._reconciled_at

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"server_jobs_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"server_jobs_{name}", text, labels, registry=self.registry)
