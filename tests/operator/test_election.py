"""Leader election: one leads, renews cheaply, and lets go when it leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from server_jobs_operator.cluster.names import leases_path
from server_jobs_operator.leadership import election
from server_jobs_operator.leadership.election import LeaderElection
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health
from tests.operator.fake_kube import FakeKube
from tests.operator.samples import SETTINGS
from tests.support.workers import until

LEASE = leases_path("jobs", "operators")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(election, "GIVE_UP_SECONDS", 0.4)


def settings(identity: str, **more: Any) -> OperatorSettings:
    return replace(SETTINGS, lease_name="operators", identity=identity, **more)


@contextlib.asynccontextmanager
async def replica(kube: FakeKube, identity: str) -> AsyncIterator[LeaderElection]:
    async def lead() -> None:
        await asyncio.Event().wait()

    election = LeaderElection(kube, settings(identity), Health(), lead)
    running = asyncio.ensure_future(election.run())
    yield election
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_renewal_is_one_request(kube: FakeKube) -> None:
    async with replica(kube, "a") as election:
        await until(lambda: election.leading, "it leads")
        reads = kube.called("get", LEASE)
        await until(lambda: kube.called("update", LEASE) >= 5, "it has renewed")

        assert kube.called("get", LEASE) == reads
        assert election.leading


async def test_a_lease_that_somebody_wrote_is_read_and_renewed(kube: FakeKube) -> None:
    async with replica(kube, "a") as election:
        await until(lambda: election.leading, "it leads")
        await kube.change(LEASE, lambda lease: lease["metadata"].update(labels={"by": "hand"}))
        renewed = kube.called("update", LEASE)
        await until(lambda: kube.called("update", LEASE) >= renewed + 3, "it goes on")

        assert election.leading
        assert kube.objects[LEASE]["metadata"]["labels"] == {"by": "hand"}


async def test_one_whose_lease_was_taken_leads_no_longer(kube: FakeKube) -> None:
    async with replica(kube, "a") as election:
        await until(lambda: election.leading, "it leads")
        await kube.change(LEASE, lambda lease: lease["spec"].update(holderIdentity="b"))
        await until(lambda: not election.leading, "it has given up")

    assert kube.objects[LEASE]["spec"]["holderIdentity"] == "b"


async def test_only_one_leads_and_the_other_follows_when_it_leaves(kube: FakeKube) -> None:
    async with replica(kube, "a") as first:
        await until(lambda: first.leading, "the first leads")
        async with replica(kube, "b") as second:
            await asyncio.sleep(0.3)
            assert not second.leading
            # It stands by for as long as the first is there.
            assert kube.objects[LEASE]["spec"]["holderIdentity"] == "a"

    assert kube.objects[LEASE]["spec"]["holderIdentity"] == ""
    async with replica(kube, "c") as third:
        await until(lambda: third.leading, "the lease was let go of")


async def test_a_holder_whose_clock_stands_still_is_alive(kube: FakeKube) -> None:
    async with replica(kube, "a") as first:
        await until(lambda: first.leading, "it leads")
    kube.objects[LEASE]["spec"] |= {
        "holderIdentity": "a",
        "leaseDurationSeconds": 0.3,
        "renewTime": "1970",
    }
    async with replica(kube, "b") as second:
        for _ in range(10):
            await kube.change(LEASE, lambda lease: lease["spec"].update(renewTime="1970"))
            await asyncio.sleep(0.08)
        assert not second.leading

        await until(lambda: second.leading, "the first is silent")


async def test_an_election_that_cannot_be_held_makes_unready(kube: FakeKube) -> None:
    kube.fails("get", LEASE, 403, "leases is forbidden")
    health = Health()

    async def lead() -> None:
        raise AssertionError("it can't lead")

    election = LeaderElection(kube, settings("a"), health, lead)
    running = asyncio.ensure_future(election.run())
    await until(lambda: "leader election" in health.problems, "it says so")
    running.cancel()

    assert "leases is forbidden" in health.problems["leader election"]


async def test_the_lease_is_deleted_with_the_charts_config_map(kube: FakeKube) -> None:
    async def lead() -> None:
        await asyncio.Event().wait()

    ours = settings("a", config_map="ours", config_map_uid="its uid")
    election = LeaderElection(kube, ours, Health(), lead)
    running = asyncio.ensure_future(election.run())
    await until(lambda: election.leading, "it leads")
    running.cancel()

    assert kube.objects[LEASE]["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "ours", "uid": "its uid"}
    ]


async def test_a_lease_without_a_config_map_has_no_owner(kube: FakeKube) -> None:
    async with replica(kube, "a") as election:
        await until(lambda: election.leading, "it leads")

    assert kube.objects[LEASE]["metadata"]["ownerReferences"] == []
