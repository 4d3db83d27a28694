"""Comparing what the table says with what the cluster has, both ways.

Read the rows, list the Jobs, read again what differs: the second look tells what was claimed or
settled between the two, so that nothing is taken for lost that merely moved. A list that fails
means that nothing is known, never that nothing is there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from server_jobs.launches.launch import Launch
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.launches.attendant import Attendant
from server_jobs_operator.launches.launcher import Launcher
from server_jobs_operator.resources.runner_table import place_of
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator.reconcile")


class Reconciler:
    """Finds records without their Job and Jobs without their record."""

    def __init__(self, term: Term, launcher: Launcher, attendant: Attendant) -> None:
        self._term = term
        self._launcher = launcher
        self._attendant = attendant

    async def reconcile(self) -> None:
        """Once. Raises DatabaseError and KubeError, and then has done nothing."""
        before = await self._term.launches.in_hand()
        jobs = {
            job.claim: job
            for namespace in self._term.settings.namespaces or (None,)
            for job in await self._term.view.relist(namespace)
        }
        self._go_on(before, jobs)
        # What differs, some of it because it has moved meanwhile, is read again.
        missing = [one for one in before.values() if self._term.view.of(one.claim) is None]
        rows = await self._term.launches.read({launch.id for launch in missing})
        created = 0
        for launch in missing:
            now = rows.get(launch.id)
            if now is None or now.status is not JobStatus.RUNNING or now.claim != launch.claim:
                continue
            created += self._create_again(now)
        if created:
            _log.info("%d records had no Kubernetes Job", created)

    def _go_on(self, before: Mapping[str, Launch], jobs: Mapping[Claim, KnownJob]) -> None:
        """Keep what waits for its pod, and have everything looked at that may need it."""
        for claim, job in jobs.items():
            launch = before.get(claim.job_id)
            if launch is None or launch.claim != claim:
                self._attendant.look_at(claim)  # whose row it is, if anybody's, is read there
                continue
            self._launcher.hold(launch)
            if not launch.begun or launch.cancel_requested_at or job.finished or job.finding:
                self._attendant.look_at(claim)

    def _create_again(self, launch: Launch) -> bool:
        """Whether a record whose Job isn't there is launched, or judged."""
        namespace, name = place_of(launch.worker_id, self._term.settings.worker_prefix)
        if not self._term.settings.serves(namespace):
            return False  # no longer ours to look at: what runs there still settles its record
        runner = self._term.runners.get(namespace, name)
        if launch.begun or launch.cancel_requested_at or runner is None:
            self._attendant.look_at(launch.claim)
        elif not self._launcher.is_creating(launch.claim):
            self._launcher.launch(launch, runner)
        return True
