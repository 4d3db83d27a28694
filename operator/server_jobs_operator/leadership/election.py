"""Elects one of the replicas by a Lease of the cluster (``coordination.k8s.io``).

The election saves work; correctness doesn't depend on it. If two replicas led at the same time,
each write to the table would still be fenced, and each Job would still be created only once,
because its name would be taken the second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from server_jobs_operator.cluster.kube import Json, Kube, KubeError
from server_jobs_operator.cluster.names import leases_path
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health

_log = logging.getLogger("server_jobs.operator.leader")

DURATION_SECONDS = 15
RENEW_SECONDS = 5.0
# A leader that can't renew its Lease stops before another replica may take it.
GIVE_UP_SECONDS = 10.0


class LeaderElection:
    """Takes part in the election, and runs ``lead`` while this replica is the leader."""

    def __init__(
        self,
        kube: Kube,
        settings: OperatorSettings,
        health: Health,
        lead: Callable[[], Awaitable[None]],
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._path = leases_path(settings.own_namespace)
        self._name = settings.lease_name
        self._identity = settings.identity
        self._health = health
        self._lead = lead
        self._held: Json | None = None
        """The Lease as we wrote it last, so that renewing needs no read."""
        self._seen: tuple[str, str, str] | None = None
        self._seen_at = 0.0
        self.leading = False

    async def run(self) -> None:
        """Takes part until it is cancelled. Then it releases the Lease for another replica.

        Raises what ``lead`` raised.
        """
        while True:
            await self._until_elected()
            _log.info("%s is the leader", self._identity)
            self.leading = True
            leading = asyncio.ensure_future(self._lead())
            renewing = asyncio.ensure_future(self._while_renewed())
            try:
                await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.leading = False
                for task in (leading, renewing):
                    task.cancel()
                ended = await asyncio.gather(leading, renewing, return_exceptions=True)
                await self._release()
            for outcome in ended:
                if isinstance(outcome, Exception):
                    raise outcome
            _log.warning("%s is no longer the leader", self._identity)

    async def _until_elected(self) -> None:
        while True:
            if await self._try():
                return
            await asyncio.sleep(RENEW_SECONDS / 2)

    async def _while_renewed(self) -> None:
        renewed = time.monotonic()
        while (left := renewed + GIVE_UP_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(min(RENEW_SECONDS, left))
            asked = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(renewed + GIVE_UP_SECONDS - asked, 0)):
                    if await self._try():
                        renewed = asked

    async def _try(self) -> bool:
        """Takes the Lease if it is free, or renews it if it is ours → whether it is ours now."""
        held, self._held = self._held, None
        if held is not None and await self._write(held):
            return True
        # Another replica or a person wrote the Lease, or the answer to our write was lost.
        try:
            lease = await self._kube.get(f"{self._path}/{self._name}")
        except KubeError as error:
            if not error.not_found:
                return self._failed("read", error)
            return await self._write(None)
        spec = lease["spec"]
        state = (
            str(spec.get("holderIdentity") or ""),
            str(spec.get("renewTime") or ""),
            str(lease["metadata"].get("resourceVersion") or ""),
        )
        if state != self._seen:
            # Expiry is measured by our own monotonic clock. Another replica's clock may be wrong
            # or stand still, but whatever it writes gets a new resource version.
            self._seen, self._seen_at = state, time.monotonic()
        holder = state[0]
        expired = time.monotonic() - self._seen_at > float(
            spec.get("leaseDurationSeconds") or DURATION_SECONDS
        )
        if holder and holder != self._identity and not expired:
            self._health.answers("leader election")
            return False  # another replica leads
        return await self._write(lease)

    async def _write(self, lease: Json | None) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        former = lease["spec"] if lease else {}
        ours = former.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": now,
            "acquireTime": former.get("acquireTime") if ours else now,
            "leaseTransitions": int(former.get("leaseTransitions") or 0) + (not ours),
        }
        try:
            if lease is None:
                self._held = await self._kube.create(
                    self._path,
                    {
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": {"name": self._name, "ownerReferences": self._owners()},
                        "spec": spec,
                    },
                )
            else:
                # The body has the version that was read, so that of two replicas one is refused.
                path = f"{self._path}/{self._name}"
                self._held = await self._kube.replace(path, lease | {"spec": spec})
        except KubeError as error:
            return error.status != 409 and self._failed("write", error)
        self._health.answers("leader election")
        return True

    def _owners(self) -> list[Json]:
        """The chart's ConfigMap, with which the Lease is deleted. Helm doesn't know the Lease."""
        name, uid = self._settings.config_map, self._settings.config_map_uid
        if name is None or uid is None:
            return []
        return [{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}]

    def _failed(self, what: str, error: KubeError) -> bool:
        """A replica that can't take part in the election is unready: it could never lead."""
        _log.warning("can't %s the Lease: %s", what, error)
        self._health.fails("leader election", str(error))
        return False

    async def _release(self) -> None:
        self._held = None
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                lease = await self._kube.get(f"{self._path}/{self._name}")
                if lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._kube.replace(f"{self._path}/{self._name}", lease)
        except (KubeError, TimeoutError) as error:
            _log.warning("can't release the Lease, so it has to expire: %s", error)
