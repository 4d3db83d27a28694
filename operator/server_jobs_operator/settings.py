"""The operator's settings, checked. Its flags and environment variables fill them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from server_jobs.errors import ConfigurationError
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.store.retention import KEEP_CANCELLED, KEEP_COMPLETED, KEEP_FAILED, Keep

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings of one operator. Times are in seconds."""

    install_id: str
    """The label of all Jobs of this installation. It stays the same over upgrades."""
    own_namespace: str
    namespaces: tuple[str, ...] | None = None
    """The namespaces that the operator serves. None is the whole cluster."""
    identity: str = "server-jobs-operator"
    """The name of this replica."""
    leader_election: bool = True
    lease_name: str = "server-jobs-operator"
    lease: float = DEFAULT_LEASE
    """How long after the operator's death its jobs that haven't begun can be claimed again."""
    poll_interval: float = 1.0
    reconcile_interval: float = 30.0
    max_jobs: int = 1_000
    """How many Kubernetes Jobs may be in flight, for all JobRunners together."""
    creates_per_second: float = 20.0
    create_concurrency: int = 10
    schedules: bool = True
    keep_completed: float | None = KEEP_COMPLETED
    keep_failed: float | None = KEEP_FAILED
    keep_cancelled: float | None = KEEP_CANCELLED
    config_map: str | None = None
    """The ConfigMap with the default JobRunner, in the operator's namespace."""
    config_map_uid: str | None = None
    """The owner of objects that belong to the installation: they are deleted with the ConfigMap."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that runner pods get: the schema and the prefix of the tables."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("lease", 10, 86_400),
            ("poll_interval", 0.05, 3_600),
            ("reconcile_interval", 1, 3_600),
            ("max_jobs", 1, 100_000),
            ("creates_per_second", 0.1, 10_000),
            ("create_concurrency", 1, 1_000),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigurationError(f"{flag}={value} isn't from {least} to {most}")
        if not _LABEL_VALUE.fullmatch(self.install_id):
            raise ConfigurationError(
                f"--install-id {self.install_id!r} can't be a label of Jobs: up to 63 letters,"
                " digits, dashes, dots and underscores, a letter or digit first and last"
            )
        if self.namespaces is not None and not self.namespaces:
            raise ConfigurationError("no namespace is given: --namespace, or --all-namespaces")
        _ = self.keep  # checks the three

    @property
    def keep(self) -> Keep:
        """How long records are kept. Raises ConfigurationError."""
        return Keep(self.keep_completed, self.keep_failed, self.keep_cancelled)

    @property
    def worker_prefix(self) -> str:
        """The beginning of the worker ids of all jobs that this installation has claimed."""
        return f"k8s/{self.install_id}/"

    def worker_id(self, namespace: str, runner: str) -> str:
        """Return the worker id under which jobs of a JobRunner are claimed."""
        return f"{self.worker_prefix}{namespace}/{runner}"

    def serves(self, namespace: str) -> bool:
        """Return whether the operator serves a namespace."""
        return self.namespaces is None or namespace in self.namespaces
