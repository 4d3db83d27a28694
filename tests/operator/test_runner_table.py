"""Of JobRunners that overlap, the older one serves."""

import pytest

from server_jobs_operator.resources.runner_table import JobRunner, RunnerTable, place_of
from tests.operator.samples import runner


def table(*runners: JobRunner) -> RunnerTable:
    made = RunnerTable()
    for one in reversed(runners):
        made.put(one)
    return made


def serving(*runners: JobRunner) -> list[str]:
    return [one.name for one in table(*runners).serving()]


def test_runners_of_other_queues_or_names_share_nothing() -> None:
    assert serving(
        runner("a", created="1", queues=["mail"]),
        runner("b", created="2", queues=["default"], jobNames=["One"]),
        runner("c", created="3", queues=["default"], jobNames=["Two"]),
    ) == ["a", "b", "c"]


def test_the_older_one_serves() -> None:
    old, young = runner("old", created="1"), runner("young", created="2")

    assert serving(young, old) == ["old"]
    assert table(old, young).winner_over(young) == old
    assert table(old, young).winner_over(old) is None


def test_all_names_overlap_with_any() -> None:
    assert serving(runner("a", created="1", jobNames=["One"]), runner("b", created="2")) == ["a"]


def test_who_lost_itself_keeps_nobody_from_serving() -> None:
    assert serving(
        runner("a", created="1", queues=["x"]),
        runner("b", created="2", queues=["x", "y"]),
        runner("c", created="3", queues=["y"]),
    ) == ["a", "c"]


def test_a_paused_one_claims_nothing_and_keeps_its_place() -> None:
    assert serving(runner("a", created="1", paused=True), runner("b", created="2")) == []


def test_once_the_older_one_is_gone_the_younger_serves() -> None:
    runners = table(runner("a", created="1"), runner("b", created="2"))
    runners.drop("jobs", "a")

    assert [one.name for one in runners.serving()] == ["b"]


def test_who_serves_is_worked_out_when_the_table_changes_and_not_at_each_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    overlaps = JobRunner.overlaps

    def counted(self: JobRunner, other: JobRunner) -> bool:
        nonlocal asked
        asked += 1
        return overlaps(self, other)

    monkeypatch.setattr(JobRunner, "overlaps", counted)
    runners = table(
        runner("a", created="1", jobNames=["One"]), runner("b", created="2", jobNames=["Two"])
    )
    for _ in range(10):
        assert [one.name for one in runners.serving()] == ["a", "b"]
    assert asked == 1

    runners.put(runner("b", created="2", jobNames=["One"]))
    assert [one.name for one in runners.serving()] == ["a"]


def test_a_long_chain_of_overlaps_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    overlaps = JobRunner.overlaps

    def counted(self: JobRunner, other: JobRunner) -> bool:
        nonlocal asked
        asked += 1
        return overlaps(self, other)

    monkeypatch.setattr(JobRunner, "overlaps", counted)
    chain = [
        runner(f"r{i}", created=f"{i:04}", queues=[f"q{i}", f"q{i + 1}", f"q{i + 2}"])
        for i in range(500)
    ]
    runners = table(*chain)

    assert len(runners.serving()) == 167
    assert all(runners.winner_over(one) is not None for one in chain[1:3])
    assert asked <= 2 * len(chain)


def test_it_gives_way_to_the_oldest_of_several() -> None:
    young = runner("young", created="3", queues=["y", "x"])
    runners = table(
        runner("a", created="1", queues=["x"]), runner("b", created="2", queues=["y"]), young
    )

    winner = runners.winner_over(young)

    assert winner is not None
    assert winner.name == "a"


@pytest.mark.parametrize(
    ("worker_id", "place"),
    [
        ("k8s/here/jobs/default", ("jobs", "default")),
        ("k8s/here/jobs/default/a-pod", ("jobs", "default")),
        ("k8s/here/odd", ("", "")),
        (None, ("", "")),
    ],
)
def test_a_worker_id_leads_back_to_its_runner(
    worker_id: str | None, place: tuple[str, str]
) -> None:
    assert place_of(worker_id, "k8s/here/") == place
