"""The state machine of a known Job: its transitions, and that nothing else changes it."""

import ast
from pathlib import Path
from typing import Any

import pytest

import server_jobs_operator
from server_jobs_operator.cluster.known_job import FIRST_TTL_SECONDS, KnownJob
from server_jobs_operator.cluster.reasons import Finding, Reason
from server_jobs_operator.cluster.trim import trimmed_pod
from tests.operator.samples import condition, ended, gone, ill, job, pod, settled, waits

PACKAGE = Path(server_jobs_operator.__file__).parent
FIELDS = {name.removeprefix("_") for name in KnownJob.__slots__}
FAILED = condition("Failed", "BackoffLimitExceeded")


def body(*conditions: Any, suspend: bool = False) -> dict[str, Any]:
    return job(*conditions, suspend=suspend).body


def pod_named(uid: str, state: Any = None, *, deleting: bool = False) -> dict[str, Any]:
    made = pod(state)
    made["metadata"] = {"name": uid, "uid": uid}
    if deleting:
        made["metadata"]["deletionTimestamp"] = "2027-01-01T12:00:00Z"
    return trimmed_pod(made)


# ── what the API server tells of it ──────────────────────────────────────────────────────────


def test_the_body_says_whether_it_is_in_flight_suspended_or_finished() -> None:
    known = job()
    assert (known.suspended, known.finished) == (False, False)

    known.change(body(suspend=True))
    assert (known.suspended, known.waits, known.finished) == (True, True, False)

    known.change(body(condition("Suspended")))
    assert (known.suspended, known.waits) == (False, True)

    known.change(body(FAILED))
    assert (known.waits, known.complete, known.finished) == (False, False, True)


def test_a_deleted_job_is_gone_since_then() -> None:
    assert job().gone_at is None
    assert gone(job(), 7.0).gone_at == 7.0


def test_pods_that_are_on_no_list_are_forgotten() -> None:
    known = job()
    for uid in ("a", "b"):
        assert known.add_pod(pod_named(uid))

    known.keep_pods({"b", "another Job's"})

    assert list(known.pods) == ["b"]
    assert known.pod_name == "b"
    known.drop_pod("b")
    known.drop_pod("b")
    assert not known.pods
    assert known.pod_name is None


# ── what is wrong with it ────────────────────────────────────────────────────────────────────


def test_what_may_pass_passes() -> None:
    known = job()
    known.add_pod(pod_named("a", waits("ErrImagePull")))
    known.examine(5.0)
    assert known.finding is not None
    assert (known.finding.reason, known.finding.final) == (Reason.IMAGE_PULL, False)

    known.add_pod(pod_named("a", {"running": {}}))
    known.examine(6.0)
    assert known.finding is None


def test_the_same_reason_again_is_one_wait_and_another_reason_a_new_one() -> None:
    known = job()
    since = []
    for moment, reason in enumerate(["ErrImagePull", "ImagePullBackOff", "RunContainerError"]):
        known.add_pod(pod_named("a", waits(reason)))
        known.examine(float(moment))
        since.append(known.finding_since)

    assert since == [0.0, 0.0, 2.0]


def test_a_final_finding_stays_unless_another_explains_it() -> None:
    known = ill(job(), Reason.EXIT_CODE)
    first = known.finding

    known.find(None, 1.0)
    known.find(Finding(Reason.IMAGE_PULL, "", final=False), 1.0)
    known.find(Finding(Reason.LOST, "", final=True), 1.0)
    assert known.finding is first

    ill(known, Reason.EVICTED)
    assert known.finding is not None
    assert known.finding.reason is Reason.EVICTED


def test_a_suspended_job_has_nothing_wrong_with_it_and_its_ending_pods_never_count() -> None:
    known = job()
    known.add_pod(pod_named("old", ended(143), deleting=True))
    known.change(body(suspend=True))

    known.examine(1.0)
    assert (known.finding, dict(known.pods)) == (None, {})

    known.change(body())
    assert known.add_pod(pod_named("old", ended(143), deleting=True)) is False
    known.examine(2.0)
    assert known.finding is None

    assert known.add_pod(pod_named("new", ended(2)))
    known.examine(3.0)
    assert known.finding is not None


def test_a_pod_that_came_while_it_was_suspended_is_of_the_time_after() -> None:
    known = job(suspend=True)
    known.add_pod(pod_named("new"))

    known.examine(1.0)

    assert list(known.pods) == ["new"]


# ── what the operator has done about it ──────────────────────────────────────────────────────


def test_a_record_is_settled_once() -> None:
    assert settled(settled(job(), 3.0), 9.0).settled_at == 3.0


def test_telling_is_remembered() -> None:
    known = job()
    assert known.told is False

    known.tell()

    assert known.told is True


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, False), (FIRST_TTL_SECONDS, False), (3_600, True)]
)
def test_a_time_to_live_that_was_changed_says_that_an_earlier_leader_told(
    seconds: int | None, told: bool
) -> None:
    known = job(FAILED)
    seen = known.body | {"spec": {"ttlSecondsAfterFinished": seconds} if seconds else {}}

    assert KnownJob(known.claim, known.runner, seen).told is told


@pytest.mark.parametrize("by", ["tell", "pod"])
def test_of_a_job_that_is_done_nothing_is_kept_but_how_it_stands(by: str) -> None:
    known = ill(job(condition("Failed", "BackoffLimitExceeded", "at length")), Reason.EXIT_CODE)
    if by == "tell":
        known.tell()
    else:
        known.add_pod(pod_named("a", ended(2)))

    known.expire()

    assert (known.expiring, known.done, known.finished) == (True, True, True)
    assert (known.finding, dict(known.pods)) == (None, {})
    known.change(body(condition("Failed", "BackoffLimitExceeded", "at length")))
    assert "at length" not in str(known.body)
    assert known.add_pod(pod_named("a", ended(2))) is False
    known.examine(1.0)
    assert known.finding is None


def test_one_whose_end_may_still_be_told_is_expiring_and_not_done() -> None:
    known = job(FAILED)

    known.expire()
    assert (known.expiring, known.done) == (True, False)

    known.tell()
    known.expire()
    assert known.done


# ── who changes it ───────────────────────────────────────────────────────────────────────────


def test_no_field_can_be_set_from_outside() -> None:
    known = job()
    for name in sorted(FIELDS - {"former_pods"}):
        with pytest.raises(AttributeError):
            setattr(known, name, None)
    with pytest.raises(AttributeError):
        known.another = True  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        known.pods["a"] = {}  # type: ignore[index]


def changed_fields(module: Path) -> list[str]:
    """Where a module assigns or deletes what is named like a field of a KnownJob, its own aside."""
    found = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
            continue
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if not own and node.attr.removeprefix("_") in FIELDS:
            found.append(f"{module.name}:{node.lineno} {ast.unparse(node)}")
    return found


def test_no_module_but_its_own_assigns_its_fields(tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(
        "job._told = True\nfor job.done in (): pass\ndel job._pods\nself._told = 1\n"
    )
    assert len(changed_fields(example)) == 3

    assert [
        line for module in sorted(PACKAGE.rglob("*.py")) for line in changed_fields(module)
    ] == []


def test_no_module_but_its_own_reads_its_private_fields() -> None:
    private = set(KnownJob.__slots__)
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in private:
                assert ast.unparse(node.value) == "self", f"{module.name}:{node.lineno}"
