"""A Kubernetes Job of ours as a state machine, in memory, on the replica that leads.

::

    what the API server tells of it

        in flight ◀── change ──▶ suspended
            └───── change ───────────┴──────▶ finished (complete or failed)
        any of the three ── vanish ──▶ gone

    what is wrong with it

        nothing ◀── examine ──▶ something that may pass
            └───── examine ──────────┴──────▶ something final
        something final ── examine ──▶ a final finding that explains it better; never back

    what the operator has done about it

        record running ── settle ──▶ record settled
        untold ── tell ──▶ told
        kept ── expire ──▶ expiring ── expire (told, or a pod is known) ──▶ done

The three groups are independent of each other. The methods of :class:`KnownJob` named above are
its transitions, and nothing else changes it. A moment is a number of seconds on the clock of
``time.monotonic()``. ``jobs_view`` makes the transitions of the first two groups, and
``launches.attendant`` those of the third.

None of this is stored. A new leader lists the Jobs and starts from that list. It sees by a Job's
time to live whether an earlier leader has already told how the Job ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.kube import Json
from server_jobs_operator.cluster.reasons import Finding, finding
from server_jobs_operator.cluster.trim import without_texts

FIRST_TTL_SECONDS = 86_400
"""A Job is created with this time to live, in seconds. It holds until the record is settled."""


class KnownJob:
    """What is known of one Kubernetes Job. The module's docstring draws its states."""

    __slots__ = (
        "_body",
        "_claim",
        "_done",
        "_expiring",
        "_finding",
        "_finding_since",
        "_former_pods",
        "_gone_at",
        "_pods",
        "_runner",
        "_settled_at",
        "_told",
    )

    def __init__(
        self, claim: Claim, runner: str, body: Json, pods: Mapping[str, Json] | None = None
    ) -> None:
        """``runner`` is the name of its JobRunner. ``pods`` is keyed by uid.

        :mod:`~server_jobs_operator.cluster.trim` makes ``body`` and each pod.
        """
        self._claim = claim
        self._runner = runner
        self._body = body
        self._pods: dict[str, Json] = dict(pods or {})
        self._former_pods: set[str] = set()
        self._finding: Finding | None = None
        self._finding_since = 0.0
        self._settled_at: float | None = None
        self._gone_at: float | None = None
        self._expiring = False
        # The time to live is changed only after the end has been told, here or by another leader.
        time_to_live = body["spec"].get("ttlSecondsAfterFinished")
        self._told = time_to_live not in {None, FIRST_TTL_SECONDS}
        self._done = False

    # ── what the API server tells of it ──────────────────────────────────────────────────────

    def change(self, body: Json) -> None:
        """Takes the newer body of the Job → in flight, suspended or finished, as that says."""
        self._body = without_texts(body) if self._done else body

    def vanish(self, moment: float) -> None:
        """The Job was deleted: any state → gone."""
        self._gone_at = moment

    def add_pod(self, pod: Json) -> bool:
        """Adds a pod, or its newer state → whether the Job has to be examined again.

        A pod is ignored if the Job is done, or if the pod ends because the Job was suspended.
        """
        uid = pod["metadata"]["uid"]
        if self._done or uid in self._former_pods:
            return False
        self._pods[uid] = pod
        return True

    def drop_pod(self, uid: str) -> None:
        """Forgets a pod that was deleted."""
        self._pods.pop(uid, None)
        self._former_pods.discard(uid)

    def keep_pods(self, uids: Iterable[str]) -> None:
        """Forgets every pod that isn't among these, which a list showed."""
        listed = set(uids)
        self._pods = {uid: pod for uid, pod in self._pods.items() if uid in listed}
        self._former_pods &= listed

    # ── what is wrong with it ────────────────────────────────────────────────────────────────

    def examine(self, moment: float) -> None:
        """Finds out what is wrong, from the Job and its pods: see :meth:`find`.

        A suspended Job has nothing wrong with it. Kubernetes deletes its pods on purpose, so the
        pods that are being deleted are set aside. They aren't examined after it is resumed, either.
        """
        if self.suspended:
            # A pod that isn't being deleted may have been created after the Job was resumed: pods
            # have a watch of their own, which may be ahead of the Jobs' watch.
            ending = {
                uid for uid, pod in self._pods.items() if "deletionTimestamp" in pod["metadata"]
            }
            self._former_pods |= ending
            for uid in ending:
                del self._pods[uid]
            self._finding = None
        elif not self._done:
            self.find(finding(self._body, list(self._pods.values())), moment)

    def find(self, found: Finding | None, moment: float) -> None:
        """Sets what is wrong → nothing (None), something that may pass, or something final.

        A final finding is replaced only by one that explains it better. ``finding_since`` moves
        only when the reason changes, so that several tries to pull one image count as one wait.
        """
        known = self._finding
        if known is not None and known.final:
            if found is not None and found.outweighs(known):
                self._finding = found
            return
        if found is not None and (known is None or known.reason is not found.reason):
            self._finding_since = moment
        self._finding = found

    # ── what the operator has done about it ──────────────────────────────────────────────────

    def settle(self, moment: float) -> None:
        """Its record is no longer running: → record settled. Only the first call counts."""
        if self._settled_at is None:
            self._settled_at = moment

    def tell(self) -> None:
        """How it ended has been logged and counted, or it ended well: untold → told."""
        self._told = True

    def expire(self) -> None:
        """Kubernetes deletes it after the JobRunner's time to live: kept → expiring.

        If it has been told or one of its pods is known, → done: its pods and the texts of its
        conditions are dropped. Otherwise its pod may still show up, so it stays expiring.
        """
        self._expiring = True
        if self._told or self._pods:
            self._done = True
            self._body = without_texts(self._body)
            self._pods.clear()
            self._former_pods.clear()
            self._finding = None

    # ── its states, to be read ───────────────────────────────────────────────────────────────

    @property
    def complete(self) -> bool:
        """Whether its pod ended well."""
        return self._has_condition("Complete")

    @property
    def finished(self) -> bool:
        """Whether it is complete or has failed. None of its pods runs then, or ever will."""
        return self.complete or self._has_condition("Failed")

    @property
    def deleting(self) -> bool:
        """Whether somebody has begun to delete it."""
        return "deletionTimestamp" in self._body["metadata"]

    @property
    def suspended(self) -> bool:
        """Whether its spec suspends it, so that it has no pods."""
        return bool(self._body["spec"].get("suspend"))

    @property
    def waits(self) -> bool:
        """Whether it is suspended, or Kubernetes hasn't resumed it yet."""
        return self.suspended or self._has_condition("Suspended")

    @property
    def gone_at(self) -> float | None:
        """When it was seen to be deleted; None while it is there."""
        return self._gone_at

    @property
    def finding(self) -> Finding | None:
        """What is wrong with it; None if nothing is."""
        return self._finding

    @property
    def finding_since(self) -> float:
        """When the reason of the finding was first seen."""
        return self._finding_since

    @property
    def settled_at(self) -> float | None:
        """When its record was first seen to be settled; None while it isn't."""
        return self._settled_at

    @property
    def told(self) -> bool:
        """Whether how it ended has been logged and counted, or it ended well."""
        return self._told

    @property
    def expiring(self) -> bool:
        """Whether it has got the JobRunner's time to live."""
        return self._expiring

    @property
    def done(self) -> bool:
        """Whether nothing but its metadata and the state of its conditions is kept."""
        return self._done

    # ── what it is ───────────────────────────────────────────────────────────────────────────

    @property
    def claim(self) -> Claim:
        """The claim that it was created for."""
        return self._claim

    @property
    def runner(self) -> str:
        """The name of its JobRunner."""
        return self._runner

    @property
    def namespace(self) -> str:
        """The namespace that it and its JobRunner are in."""
        return str(self._body["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name in that namespace."""
        return str(self._body["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Its uid, which differs from that of a later Job of the same name."""
        return str(self._body["metadata"]["uid"])

    @property
    def body(self) -> Json:
        """The fields that are kept of the Job itself."""
        return self._body

    @property
    def pods(self) -> Mapping[str, Json]:
        """Its pods by uid, except those that end because the Job was suspended. Read-only."""
        return MappingProxyType(self._pods)

    @property
    def started_at(self) -> datetime | None:
        """When it became active, by the cluster's clock. Resuming it starts that anew."""
        moment = self._body["status"].get("startTime")
        return datetime.fromisoformat(moment) if moment else None

    @property
    def grace_seconds(self) -> float | None:
        """How long its pods have to end, in seconds; None if no pod is known."""
        periods = [pod["spec"].get("terminationGracePeriodSeconds") for pod in self._pods.values()]
        return max((float(one) for one in periods if one is not None), default=None)

    @property
    def pod_name(self) -> str | None:
        """The name of its latest pod; None if no pod is known."""
        names = [pod["metadata"]["name"] for pod in self._pods.values()]
        return names[-1] if names else None

    def _has_condition(self, kind: str) -> bool:
        return any(
            condition["type"] == kind and condition["status"] == "True"
            for condition in self._body["status"].get("conditions", ())
        )
