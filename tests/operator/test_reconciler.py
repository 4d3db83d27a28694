"""Comparing the table with the cluster: which records are missed."""

from dataclasses import replace
from typing import Any, cast

import pytest

from server_jobs import create_job_registry, define_job
from server_jobs.database import Database
from server_jobs.launches.store import LaunchStore
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.jobs_view import JobsView
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.launches.attendant import Attendant
from server_jobs_operator.launches.launcher import Launcher
from server_jobs_operator.launches.reconciler import Reconciler
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.operator.fake_kube import FakeKube
from tests.operator.samples import SETTINGS


@define_job
async def work(params: dict[str, Any]) -> None:
    pass


registry = create_job_registry().register(work)


class EmptyViewStub:
    """A cluster without a Kubernetes Job."""

    async def relist(self, namespace: str | None) -> list[KnownJob]:
        return []

    def of(self, claim: Claim) -> KnownJob | None:
        return None


class AttendantStub:
    """Notes what it is to look at."""

    def __init__(self) -> None:
        self.looks_at: list[Claim] = []

    def look_at(self, claim: Claim) -> None:
        self.looks_at.append(claim)


@pytest.mark.parametrize(
    ("namespaces", "missed"), [(("jobs",), ["jobs"]), (None, ["jobs", "other"])]
)
async def test_what_runs_in_a_namespace_that_is_served_no_longer_is_not_missed(
    database: Database, namespaces: tuple[str, ...] | None, missed: list[str]
) -> None:
    launches = LaunchStore(database, "k8s/here/")
    registry.bind(database)
    places = {}
    for namespace in ("jobs", "other"):
        await work.later({})
        worker_id = f"k8s/here/{namespace}/default/pod"
        (claimed,) = await launches.records.claim(ClaimRequest("default", None, 1, worker_id, 300))
        places[claimed.claim] = namespace
    attendant = AttendantStub()

    settings = replace(SETTINGS, namespaces=namespaces)
    term = Term.begin(FakeKube(), launches, settings, Metrics(), Health())

    await Reconciler(
        replace(term, view=cast(JobsView, EmptyViewStub())),
        cast(Launcher, None),
        cast(Attendant, attendant),
    ).reconcile()

    assert sorted(places[claim] for claim in attendant.looks_at) == missed
