"""JobRunners: what their conditions say, and when an Event tells of it."""

import pytest

from server_jobs_operator.cluster.kube import Json
from server_jobs_operator.cluster.names import resources_path
from server_jobs_operator.controllers.job_runners import JobRunners
from tests.operator.bench import Bench
from tests.operator.fake_kube import job_runner_body


@pytest.fixture
def runners(bench: Bench) -> JobRunners:
    return JobRunners(bench.term, bench.launcher.refusal)


async def seen(bench: Bench, runners: JobRunners, body: Json) -> None:
    path = resources_path("jobrunners", "jobs", body["metadata"]["name"])
    bench.kube.objects[path] = body
    await runners.changed(body, deleted=False)
    await runners.refresh()


def condition(bench: Bench, kind: str, name: str = "default") -> tuple[str, str]:
    body = bench.kube.objects[resources_path("jobrunners", "jobs", name)]
    (found,) = [one for one in body["status"]["conditions"] if one["type"] == kind]
    return found["status"], found["reason"]


async def test_one_that_is_paused_drains_until_none_runs(bench: Bench, runners: JobRunners) -> None:
    await seen(bench, runners, job_runner_body())
    await bench.enqueue()
    await bench.launch()

    await seen(bench, runners, job_runner_body(paused=True, generation=2))
    assert condition(bench, "Ready") == ("False", "Draining")

    await bench.job_ends(bench.jobs[0])
    await bench.view.relist("jobs")
    await runners.refresh()
    assert condition(bench, "Ready") == ("False", "Paused")


async def test_what_is_forbidden_just_now_says_nothing_about_a_template(
    bench: Bench, runners: JobRunners
) -> None:
    bench.kube.fails("dry run", "/jobs", 403, "exceeded quota: team", "Forbidden")
    await seen(bench, runners, job_runner_body())
    assert condition(bench, "TemplateValid") == ("Unknown", "Forbidden")
    assert condition(bench, "Ready") == ("True", "Serving")

    bench.kube.recovers()
    await runners.refresh()
    assert condition(bench, "TemplateValid") == ("True", "Accepted")

    asked = bench.kube.called("dry run")
    await runners.refresh()
    assert bench.kube.called("dry run") == asked


async def test_a_template_that_is_refused_is_told_once(bench: Bench, runners: JobRunners) -> None:
    bench.kube.fails("dry run", "/jobs", 422, "spec.template is wrong", "Invalid")
    await seen(bench, runners, job_runner_body())
    await runners.refresh()

    assert condition(bench, "Ready") == ("False", "Refused")
    assert await bench.settle_events() == [("JobRunner", "TemplateRefused")]


async def test_a_conflict_is_told_once(bench: Bench, runners: JobRunners) -> None:
    await seen(bench, runners, job_runner_body("a"))
    await seen(bench, runners, job_runner_body("b"))
    await runners.refresh()

    assert condition(bench, "Conflict", "b") == ("True", "OlderServes")
    assert await bench.settle_events() == [("JobRunner", "Conflict")]


async def test_a_template_that_is_none_is_a_condition_and_stops_no_other(
    bench: Bench, runners: JobRunners
) -> None:
    await seen(bench, runners, job_runner_body("a", template={"spec": {"containers": ["x"]}}))
    await seen(bench, runners, job_runner_body("b", queues=["b"]))

    assert condition(bench, "TemplateValid", "a") == ("False", "Malformed")
    assert condition(bench, "Ready", "b") == ("True", "Serving")
    assert await bench.settle_events() == [("JobRunner", "TemplateMalformed")]


async def test_why_no_job_is_taken_is_a_condition(bench: Bench, runners: JobRunners) -> None:
    await seen(bench, runners, job_runner_body())
    assert condition(bench, "Launching") == ("True", "Unhindered")

    await bench.enqueue()
    bench.kube.refuses("exceeded quota: team")
    await bench.launch()
    await runners.refresh()

    assert condition(bench, "Launching") == ("False", "Refused")


async def test_what_a_list_no_longer_has_is_gone(bench: Bench, runners: JobRunners) -> None:
    await seen(bench, runners, job_runner_body("a"))
    await seen(bench, runners, job_runner_body("b", queues=["b"]))

    await runners.replace([job_runner_body("b", queues=["b"])], "jobs")

    assert [runner.name for runner in bench.table] == ["b"]


async def test_a_list_that_is_late_takes_nothing_back(bench: Bench, runners: JobRunners) -> None:
    newer = job_runner_body(generation=2, maxConcurrency=7)
    newer["metadata"]["resourceVersion"] = "20"
    await runners.changed(newer, deleted=False)
    older = job_runner_body(maxConcurrency=3)
    older["metadata"]["resourceVersion"] = "9"

    await runners.replace([older], "jobs")

    assert [runner.spec.max_concurrency for runner in bench.table] == [7]


async def test_one_of_the_same_name_is_another_one(bench: Bench, runners: JobRunners) -> None:
    await runners.changed(job_runner_body(maxConcurrency=3), deleted=False)
    other = job_runner_body(maxConcurrency=7)
    other["metadata"]["uid"] = "another"

    await runners.changed(other, deleted=False)

    assert [(runner.uid, runner.spec.max_concurrency) for runner in bench.table] == [("another", 7)]


async def test_a_policy_that_came_later_is_told_and_forgotten_when_it_is_gone(
    bench: Bench, runners: JobRunners
) -> None:
    await seen(bench, runners, job_runner_body())
    assert condition(bench, "TemplateValid") == ("True", "Accepted")
    await bench.enqueue()
    bench.kube.refuses("ValidatingAdmissionPolicy 'team' denied request: no limits")

    await bench.launch()
    await runners.refresh()
    assert condition(bench, "TemplateValid") == ("False", "Refused")
    assert condition(bench, "Launching") == ("False", "Refused")
    assert condition(bench, "Ready") == ("False", "Refused")

    bench.kube.recovers()
    bench.launcher._refused_until.clear()  # the time is over
    await bench.rounds(2)
    await runners.refresh()
    assert condition(bench, "TemplateValid") == ("True", "Accepted")
    assert condition(bench, "Launching") == ("True", "Unhindered")


async def test_a_template_that_was_refused_is_asked_about_again(
    bench: Bench, runners: JobRunners
) -> None:
    bench.kube.refuses("a policy that goes")
    await seen(bench, runners, job_runner_body())
    assert condition(bench, "TemplateValid") == ("False", "Refused")

    bench.kube.recovers()
    await runners.refresh()
    assert condition(bench, "TemplateValid") == ("True", "Accepted")
