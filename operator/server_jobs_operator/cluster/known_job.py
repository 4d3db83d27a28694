"""A Kubernetes Job of ours, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.kube import Json
from server_jobs_operator.cluster.reasons import Finding
from server_jobs_operator.cluster.trim import without_texts


@dataclass(slots=True)
class KnownJob:
    """A Kubernetes Job of ours."""

    namespace: str
    name: str
    uid: str
    claim: Claim
    runner: str
    job: Json
    """What :mod:`~server_jobs_operator.cluster.trim` leaves of it."""
    pods: dict[str, Json] = field(default_factory=dict)
    """By uid; those that it had before it was suspended aren't among them."""
    former_pods: set[str] = field(default_factory=set)
    """Which those are, while they end."""
    finding: Finding | None = None
    """What is wrong with it, if anything."""
    finding_since: float = 0.0
    settled_at: float | None = None
    """Since when its record is known to be settled."""
    gone_at: float | None = None
    """Since when it is known to be deleted."""
    expiring: bool = False
    """Its time to live is what the runner says."""
    told: bool = False
    """How it went wrong has been counted and told, or it didn't."""
    done: bool = False
    """It is over, its record settled, and no details of it are kept any more."""

    @property
    def complete(self) -> bool:
        """Whether its pod ended well."""
        return self._is_so("Complete")

    @property
    def finished(self) -> bool:
        """Whether it is complete or has failed: no pod of it runs, or will."""
        return self.complete or self._is_so("Failed")

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.job["metadata"]

    @property
    def suspended(self) -> bool:
        """Whether somebody lets it wait."""
        return bool(self.job["spec"].get("suspend"))

    @property
    def waits(self) -> bool:
        """Whether it is suspended, or not started again since."""
        return self.suspended or self._is_so("Suspended")

    @property
    def started_at(self) -> datetime | None:
        """Since when it is active: Kubernetes sets that anew when it is resumed."""
        moment = self.job["status"].get("startTime")
        return datetime.fromisoformat(moment) if moment else None

    @property
    def grace_seconds(self) -> float | None:
        """What its pods get to end in, if any is known."""
        periods = [pod["spec"].get("terminationGracePeriodSeconds") for pod in self.pods.values()]
        return max((float(one) for one in periods if one is not None), default=None)

    @property
    def pod_name(self) -> str | None:
        """Its last pod's, if any is known."""
        names = [pod["metadata"]["name"] for pod in self.pods.values()]
        return names[-1] if names else None

    def keep_no_details(self) -> None:
        """What was wrong with it interests nobody any more."""
        self.done = True
        self.job = without_texts(self.job)
        self.pods.clear()
        self.former_pods.clear()
        self.finding = None

    def _is_so(self, kind: str) -> bool:
        return any(
            condition["type"] == kind and condition["status"] == "True"
            for condition in self.job["status"].get("conditions", ())
        )
