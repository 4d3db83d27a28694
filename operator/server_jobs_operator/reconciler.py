"""Comparing what the table says with what the cluster has, both ways.

Read the rows, list the Jobs, read the rows again: what was claimed or settled between the two
looks is told by the second, so that nothing is taken for lost that merely moved. A list that fails
means that nothing is known, never that nothing is there.
"""

from __future__ import annotations

import logging

from server_jobs.launch_store import LaunchStore
from server_jobs.records import Lease
from server_jobs.schema import JobStatus
from server_jobs_operator.attendant import Attendant
from server_jobs_operator.jobs_view import JobsView
from server_jobs_operator.launcher import Launcher
from server_jobs_operator.runner_table import RunnerTable, place_of
from server_jobs_operator.settings import OperatorSettings

_log = logging.getLogger("server_jobs.operator.reconcile")


class Reconciler:
    """Finds records without their Job and Jobs without their record."""

    def __init__(
        self,
        launches: LaunchStore,
        view: JobsView,
        runners: RunnerTable,
        launcher: Launcher,
        attendant: Attendant,
        settings: OperatorSettings,
    ) -> None:
        self._launches = launches
        self._view = view
        self._runners = runners
        self._launcher = launcher
        self._attendant = attendant
        self._settings = settings

    async def reconcile(self) -> None:
        """Once. Raises DatabaseError and KubeError, and then has done nothing."""
        before = await self._launches.in_hand()
        jobs: set[Lease] = set()
        for namespace in self._settings.namespaces or (None,):
            for job in await self._view.relist(namespace):
                jobs.add(job.lease)
        wanted = before.keys() | {lease.job_id for lease in jobs}
        rows = await self._launches.read(wanted)
        missing = 0
        for job_id in before:
            launch = rows.get(job_id)
            if (
                launch is None
                or launch.status is not JobStatus.RUNNING
                or launch.lease != before[job_id].lease
                or launch.lease in jobs
            ):
                continue
            namespace, name = place_of(launch.worker_id, self._settings.worker_prefix)
            if not self._settings.serves(namespace):
                continue  # no longer ours to look at: what runs there still settles its record
            missing += 1
            runner = self._runners.get(namespace, name)
            if launch.begun or launch.cancel_requested_at or runner is None:
                self._attendant.look_at(launch.lease)
            elif not self._launcher.is_creating(launch.lease):
                self._launcher.launch(launch, runner)
        for lease in jobs:
            launch = rows.get(lease.job_id)
            running = launch is not None and launch.status is JobStatus.RUNNING
            if launch is not None and running and launch.lease == lease:
                self._launcher.hold(launch)
            self._attendant.look_at(lease)
        if missing:
            _log.info("%d records had no Kubernetes Job", missing)
