"""Compares the table with the cluster: records without a Job, and Jobs without a record.

It reads the rows, lists the Jobs, and reads again the rows that differ. The second read shows what
was claimed or settled in between, so that a record that merely changed isn't taken for lost. If the
list of a namespace fails, nothing is done about it: that doesn't mean that there are no Jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from server_jobs.launches.launch import Launch
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.kube import KubeError
from server_jobs_operator.cluster.namespaces import Namespace
from server_jobs_operator.launches.attendant import Attendant
from server_jobs_operator.launches.launcher import Launcher
from server_jobs_operator.resources.runner_table import place_of
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator.reconcile")


class Reconciler:
    """Creates Jobs that are missing, and has those that need it judged by the attendant."""

    def __init__(self, term: Term, launcher: Launcher, attendant: Attendant) -> None:
        self._term = term
        self._launcher = launcher
        self._attendant = attendant

    async def reconcile(self) -> None:
        """Compares once, in each namespace whose Jobs can be listed.

        Raises DatabaseError or, if that is none, KubeError, and then nothing has been done.
        """
        before = await self._term.launches.in_hand()
        jobs, listed = await self._list()
        self._go_on(before, jobs)
        # Some rows differ only because they changed since the first read.
        missing = [
            launch
            for launch in before.values()
            if self._term.view.of(launch.claim) is None
            and not listed.isdisjoint({None, self._place_of(launch)[0]})
        ]
        rows = await self._term.launches.read({launch.id for launch in missing})
        created = 0
        for launch in missing:
            now = rows.get(launch.id)
            if now is None or now.status is not JobStatus.RUNNING or now.claim != launch.claim:
                continue
            created += self._create_again(now)
        if created:
            _log.info("%d running records had no Kubernetes Job", created)

    async def _list(self) -> tuple[dict[Claim, KnownJob], set[Namespace]]:
        """Lists the Jobs of each namespace → (Jobs, the namespaces whose list didn't fail)."""
        jobs: dict[Claim, KnownJob] = {}
        listed: set[Namespace] = set()
        failed: KubeError | None = None
        for namespace in self._term.namespaces:
            try:
                found = await self._term.view.relist(namespace)
            except KubeError as error:
                failed = error
                self._term.namespaces.fails(namespace, "jobs", str(error))
                if error.status == 0:
                    break  # nothing answers: the others would only take as long
                continue
            self._term.namespaces.answers(namespace, "jobs")
            listed.add(namespace)
            jobs |= {job.claim: job for job in found}
        if failed is not None and not listed:
            raise failed
        return jobs, listed

    def _go_on(self, before: Mapping[str, Launch], jobs: Mapping[Claim, KnownJob]) -> None:
        """Renews the leases of launches that wait for their pods, and has others judged."""
        for claim, job in jobs.items():
            launch = before.get(claim.job_id)
            if launch is None or launch.claim != claim:
                self._attendant.look_at(claim)  # which reads the row, if there is one
                continue
            self._launcher.hold(launch)
            if not launch.begun or launch.cancel_requested_at or job.finished or job.finding:
                self._attendant.look_at(claim)

    def _create_again(self, launch: Launch) -> bool:
        """Launches a record without a Job, or has it judged → False if its namespace isn't ours."""
        namespace, name = self._place_of(launch)
        if not self._term.settings.serves(namespace):
            return False  # this namespace isn't served any more; its pods settle their records
        runner = self._term.runners.get(namespace, name)
        if launch.begun or launch.cancel_requested_at or runner is None:
            self._attendant.look_at(launch.claim)
        elif not self._launcher.is_creating(launch.claim):
            self._launcher.launch(launch, runner)
        return True

    def _place_of(self, launch: Launch) -> tuple[str, str]:
        return place_of(launch.worker_id, self._term.settings.worker_prefix)
