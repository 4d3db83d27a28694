"""Of JobRunners that overlap, the older one serves."""

from server_jobs_operator.runner_table import Runner, RunnerTable
from tests.operator.samples import runner


def table(*runners: Runner) -> RunnerTable:
    made = RunnerTable()
    for one in reversed(runners):
        made.put(one)
    return made


def serving(*runners: Runner) -> list[str]:
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
