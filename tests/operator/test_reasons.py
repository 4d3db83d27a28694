"""Why a launch goes wrong, by what Kubernetes says of its Job and pods."""

from typing import Any

import pytest

from server_jobs_operator.cluster.reasons import WAY_OUT, Finding, Reason, finding
from tests.operator.samples import condition, ended, pod, waits

NO_JOB: dict[str, Any] = {"status": {}}


@pytest.mark.parametrize(
    ("seen", "reason", "final"),
    [
        (pod(ended(137, "OOMKilled")), Reason.OOM_KILLED, True),
        (pod(ended(3)), Reason.EXIT_CODE, True),
        (pod(ended(137)), Reason.EXIT_CODE, True),
        (pod(ended(78)), Reason.SCHEMA_MISMATCH, True),
        (pod(ended(128, "StartError", "exec: no such file")), Reason.CONFIG_ERROR, True),
        (pod(waits("ErrImagePull")), Reason.IMAGE_PULL, False),
        (pod(waits("ImagePullBackOff")), Reason.IMAGE_PULL, False),
        (pod(waits("ErrImageNeverPull")), Reason.IMAGE_PULL, False),
        (pod(waits("InvalidImageName")), Reason.IMAGE_PULL, True),
        (pod(waits("CreateContainerConfigError", "secret not found")), Reason.CONFIG_ERROR, False),
        (pod(reason="Evicted", message="low on memory"), Reason.EVICTED, True),
        (
            pod(conditions=[condition("DisruptionTarget", "EvictionByEvictionAPI")]),
            Reason.EVICTED,
            True,
        ),
        (
            pod(conditions=[condition("DisruptionTarget", "DeletionByTaintManager")]),
            Reason.EVICTED,
            True,
        ),
        (
            pod(conditions=[condition("DisruptionTarget", "PreemptionByScheduler")]),
            Reason.PREEMPTED,
            True,
        ),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
            Reason.UNSCHEDULABLE,
            False,
        ),
        (pod(reason="DeadlineExceeded"), Reason.DEADLINE, True),
    ],
)
def test_pods_say_what_is_wrong(seen: dict[str, Any], reason: Reason, final: bool) -> None:
    found = finding(NO_JOB, [seen])

    assert found is not None
    assert (found.reason, found.final) == (reason, final)
    assert "a-pod" in found.text
    assert WAY_OUT[reason] in found.text


@pytest.mark.parametrize(
    "seen",
    [
        pod(),
        pod(waits("ContainerCreating")),
        pod(waits("PodInitializing")),
        pod({"running": {"startedAt": "2027-01-01T00:00:00Z"}}),
        pod(ended(0, "Completed")),
        pod(conditions=[{"type": "PodScheduled", "status": "True"}]),
    ],
)
def test_what_is_well_is_no_finding(seen: dict[str, Any]) -> None:
    assert finding(NO_JOB, [seen]) is None


def test_only_the_container_runner_counts() -> None:
    seen = pod(containerStatuses=[{"name": "proxy", "state": ended(1)}])

    assert finding(NO_JOB, [seen]) is None


def test_an_eviction_explains_an_exit_status() -> None:
    seen = pod(ended(143), conditions=[condition("DisruptionTarget", "EvictionByEvictionAPI")])

    found = finding(
        {"status": {"conditions": [condition("Failed", "BackoffLimitExceeded")]}}, [seen]
    )

    assert found is not None
    assert found.reason is Reason.EVICTED


@pytest.mark.parametrize(
    ("why", "reason"),
    [("BackoffLimitExceeded", Reason.LOST), ("DeadlineExceeded", Reason.DEADLINE)],
)
def test_a_deleted_pod_that_had_to_be_killed_is_not_at_fault(why: str, reason: Reason) -> None:
    seen = pod(ended(137))
    seen["metadata"]["deletionTimestamp"] = "2027-01-01T12:00:00Z"

    found = finding({"status": {"conditions": [condition("Failed", why)]}}, [seen])

    assert found is not None
    assert found.reason is reason


def test_a_deleted_pod_that_ran_out_of_memory_did() -> None:
    seen = pod(ended(137, "OOMKilled"))
    seen["metadata"]["deletionTimestamp"] = "2027-01-01T12:00:00Z"

    found = finding(NO_JOB, [seen])

    assert found is not None
    assert found.reason is Reason.OOM_KILLED


def test_what_has_ended_says_more_than_what_waits() -> None:
    found = finding(NO_JOB, [pod(waits("ErrImagePull")), pod(ended(2))])

    assert found is not None
    assert found.reason is Reason.EXIT_CODE


def test_a_signal_is_named_and_the_last_words_are_kept() -> None:
    found = finding(NO_JOB, [pod(ended(139, message="x" * 900 + "the end"))])

    assert found is not None
    assert "exit status 139 (SIGSEGV)" in found.text
    assert "the end" in found.text
    assert len(found.text) < 700


@pytest.mark.parametrize(
    ("why", "reason"),
    [("DeadlineExceeded", Reason.DEADLINE), ("BackoffLimitExceeded", Reason.LOST)],
)
def test_a_job_that_failed_without_a_pod_to_ask(why: str, reason: Reason) -> None:
    found = finding({"status": {"conditions": [condition("Failed", why)]}}, [])

    assert found is not None
    assert (found.reason, found.final) == (reason, True)


def test_every_reason_has_a_way_out() -> None:
    assert set(WAY_OUT) == set(Reason)


@pytest.mark.parametrize(
    ("one", "other", "outweighs"),
    [
        (Finding(Reason.EVICTED, "", True), Finding(Reason.EXIT_CODE, "", True), True),
        (Finding(Reason.EXIT_CODE, "", True), Finding(Reason.LOST, "", True), True),
        (Finding(Reason.EXIT_CODE, "", True), Finding(Reason.EVICTED, "", True), False),
        (Finding(Reason.EVICTED, "", True), Finding(Reason.EVICTED, "", True), False),
        (Finding(Reason.IMAGE_PULL, "", False), Finding(Reason.LOST, "", True), False),
    ],
)
def test_what_explains_the_other_weighs_more(one: Finding, other: Finding, outweighs: bool) -> None:
    assert one.outweighs(other) is outweighs


def test_every_reason_has_a_weight() -> None:
    lost = Finding(Reason.UNKNOWN_JOB, "", final=True)

    assert [one for one in Reason if not Finding(one, "", final=True).outweighs(lost)] == [
        Reason.UNKNOWN_JOB
    ]
