"""One replica of the operator, from its start to SIGTERM.

Every replica answers probes and takes part in the election. The leader watches, claims, launches
and attends. Every write of a leader is fenced, so a former leader that hasn't noticed yet that
another one leads does no harm.
"""

from __future__ import annotations

import asyncio

from server_jobs.database import Database
from server_jobs.errors import ConfigurationError, StoreError
from server_jobs.launches.store import LaunchStore
from server_jobs_operator.cluster.kube import Kube, KubeError
from server_jobs_operator.leadership.election import LeaderElection
from server_jobs_operator.leadership.leader import Leader
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term

_AGAIN_SECONDS = 5.0


class Operator:
    """One replica.

    Raises ConfigurationError if the database is a SQLite file, which pods can't reach.
    """

    def __init__(
        self,
        kube: Kube,
        database: Database,
        settings: OperatorSettings,
        metrics: Metrics,
        health: Health,
    ) -> None:
        if not database.capabilities.serves_remote_workers:
            raise ConfigurationError(
                "a SQLite file can't serve a cluster: pods on other nodes don't see it. Give a"
                " server's URL, for instance postgresql://user:password@host/name"
            )
        self._kube = kube
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._launches = LaunchStore(database, settings.worker_prefix)

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until ``stop`` is set. Raises the error that the leader ended with, if it did."""
        election = LeaderElection(self._kube, self._settings, self._health, self._lead)
        work = asyncio.ensure_future(
            election.run() if self._settings.leader_election else self._lead()
        )
        stopping = asyncio.ensure_future(stop.wait())
        watching = asyncio.ensure_future(self._watch_health())
        try:
            await asyncio.wait({work, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, stopping, watching):
                task.cancel()
            ended = await asyncio.gather(work, watching, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _watch_health(self) -> None:
        """Keeps the replica ready while the database and the API server answer, leader or not."""
        while True:
            try:
                await self._launches.records.check_schema()
                self._health.answers("database")
            except StoreError as error:
                self._health.fails("database", str(error))
            try:
                await self._kube.get("/version")
                self._health.answers("Kubernetes API")
            except KubeError as error:
                self._health.fails("Kubernetes API", str(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _lead(self) -> None:
        term = Term.begin(self._kube, self._launches, self._settings, self._metrics, self._health)
        self._metrics.leader.set(1)
        try:
            await Leader(term).run()
        finally:
            self._metrics.leader.set(0)
