"""What the operator counts, for Prometheus. docs/kubernetes.md has each with its meaning."""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server_jobs_operator.cluster.reasons import Reason


class Metrics:
    """One operator's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of_runner = ("namespace", "runner")
        self.leader = self._gauge("leader", "1 on the replica that leads")
        self.queue_depth = self._gauge("queue_depth", "Jobs that wait, by queue", "queue")
        self.queue_oldest = self._gauge(
            "queue_oldest_seconds", "How long the oldest job that is due waits", "queue"
        )
        self.claims = self._counter("claims", "Records that were claimed", *of_runner)
        self.launches = self._counter(
            "launches", "Kubernetes Jobs: created, or refused", *of_runner, "outcome"
        )
        self.reasons = self._counter("reasons", "Why launches went wrong", "reason")
        for reason in Reason:
            self.reasons.labels(str(reason))  # from 0 on, so that the first one is an increase
        self.running = self._gauge("running_jobs", "Kubernetes Jobs in flight", *of_runner)
        self.launch_seconds = Histogram(
            "server_jobs_launch_seconds",
            "From the claim of a record to its Kubernetes Job",
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )
        self._reconciled_at: float | None = None
        self.reconcile_lag = self._gauge(
            "reconcile_lag_seconds", "Since rows and Jobs were last compared"
        )
        # Read when it is asked for: it grows even if no loop goes round any more.
        self.reconcile_lag.set_function(self._lag)
        self.api_errors = self._counter(
            "api_errors",
            "Requests that the API server refused or didn't answer (0)",
            "verb",
            "code",
        )
        self.fired = self._counter("schedules_fired", "Jobs that schedules have made")

    def api_error(self, verb: str, status: int) -> None:
        """Count a request that went wrong."""
        self.api_errors.labels(verb, str(status)).inc()

    def show_queues(self, depth: Mapping[str, int], oldest: Mapping[str, float]) -> None:
        """What waits, by queue."""
        self.queue_depth.clear()
        self.queue_oldest.clear()
        for queue, count in depth.items():
            self.queue_depth.labels(queue).set(count)
            self.queue_oldest.labels(queue).set(oldest.get(queue, 0.0))

    def show_running(self, running: Mapping[tuple[str, str], int]) -> None:
        """What is in flight, by JobRunner; one that is gone is shown no longer."""
        self.running.clear()
        for key, count in running.items():
            self.running.labels(*key).set(count)

    def reconciled(self) -> None:
        """Rows and Jobs were compared just now."""
        self._reconciled_at = time.monotonic()

    def end_term(self) -> None:
        """Who no longer leads doesn't know how things stand."""
        self.show_queues({}, {})
        self.show_running({})
        self._reconciled_at = None

    def _lag(self) -> float:
        return 0.0 if self._reconciled_at is None else time.monotonic() - self._reconciled_at

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"server_jobs_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"server_jobs_{name}", text, labels, registry=self.registry)
