"""What the operator counts, for Prometheus. docs/kubernetes.md has each with its meaning."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


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
        self.running = self._gauge("running_jobs", "Kubernetes Jobs in flight", *of_runner)
        self.launch_seconds = Histogram(
            "server_jobs_launch_seconds",
            "From the claim of a record to its Kubernetes Job",
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )
        self.reconcile_lag = self._gauge(
            "reconcile_lag_seconds", "Since rows and Jobs were last compared"
        )
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

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"server_jobs_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"server_jobs_{name}", text, labels, registry=self.registry)
