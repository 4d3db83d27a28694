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

The three go on side by side. The methods of :class:`KnownJob` that are named above are its
transitions; nothing else changes it. Each takes the moment, where it needs one, as seconds of
``time.monotonic()``. ``jobs_view`` makes the transitions of the first two groups, the attendant
those of the third.

Nothing of this is stored. A new leader lists the Jobs and begins with what the list says; that an
earlier leader has told how a Job ended shows in the Job's time to live.
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
    """What is known of one Kubernetes Job; the module's page has its states."""

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
        """``body`` and ``pods`` (by uid) are what :mod:`~server_jobs_operator.cluster.trim` keeps.

        ``runner`` is the name of its JobRunner.
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
        """In flight, suspended or finished, as the new body says."""
        self._body = without_texts(body) if self._done else body

    def vanish(self, moment: float) -> None:
        """Any state → gone: the Job was deleted."""
        self._gone_at = moment

    def add_pod(self, pod: Json) -> bool:
        """Takes note of a pod, or of its new state → whether it says something about the Job.

        It doesn't when the Job is done, or when the pod ends because the Job was suspended.
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
        """Forgets all pods but these, which are on a list."""
        listed = set(uids)
        self._pods = {uid: pod for uid, pod in self._pods.items() if uid in listed}
        self._former_pods &= listed

    # ── what is wrong with it ────────────────────────────────────────────────────────────────

    def examine(self, moment: float) -> None:
        """Reads off the Job and its pods what is wrong: nothing, something that may pass, or final.

        A suspended Job has nothing wrong with it. Its pods are deleted on purpose, so those that
        are about to end are set aside and no longer examined, after it is resumed either.
        """
        if self.suspended:
            # A pod that isn't being deleted may be of the time after: pods have their own watch.
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
        """The state that a finding leads to: None is that nothing is wrong.

        A final finding stays, unless the new one explains it. ``finding_since`` is when the
        reason was first seen, so that repeated tries of the same image count as one wait.
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
        """Record running → record settled. Only the first call sets the moment."""
        if self._settled_at is None:
            self._settled_at = moment

    def tell(self) -> None:
        """Untold → told: how it ended has been logged and counted, or it ended well."""
        self._told = True

    def expire(self) -> None:
        """Kept → expiring: Kubernetes removes it after the JobRunner's time to live.

        → done, where nothing is left to tell: neither its conditions' texts nor its pods are kept.
        One that is neither told nor has a pod stays expiring, since its pod may still be listed.
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
        """Whether it is complete or has failed. Then no pod of it runs, or will."""
        return self.complete or self._has_condition("Failed")

    @property
    def deleting(self) -> bool:
        """Whether its deletion has begun."""
        return "deletionTimestamp" in self._body["metadata"]

    @property
    def suspended(self) -> bool:
        """Whether its spec says that it shall have no pods."""
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
        """Whether how it went wrong has been told, or nothing did."""
        return self._told

    @property
    def expiring(self) -> bool:
        """Whether its time to live is the JobRunner's."""
        return self._expiring

    @property
    def done(self) -> bool:
        """Whether it is expiring and nothing but its conditions is kept of it."""
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
        """Its uid, which tells it from a later Job of the same name."""
        return str(self._body["metadata"]["uid"])

    @property
    def body(self) -> Json:
        """What is kept of the Job itself."""
        return self._body

    @property
    def pods(self) -> Mapping[str, Json]:
        """Its pods by uid, without those that end because it was suspended."""
        return MappingProxyType(self._pods)

    @property
    def started_at(self) -> datetime | None:
        """When it became active, by the API server's clock. Resuming it sets that anew."""
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
