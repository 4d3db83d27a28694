"""JobRunners: what their conditions say, and when an Event tells of it."""

import pytest

from server_jobs_operator.job_runners import JobRunners
from server_jobs_operator.kube import Json
from server_jobs_operator.names import resources_path
from tests.operator.bench import Bench
from tests.operator.fake_kube import job_runner_body


@pytest.fixture
def runners(bench: Bench) -> JobRunners:
    return JobRunners(bench.kube, bench.table, bench.view, bench.settings, bench.events)


async def seen(bench: Bench, runners: JobRunners, body: Json) -> None:
    path = resources_path("jobrunners", "jobs", body["metadata"]["name"])
    bench.kube.objects[path] = body
    await runners.changed(body, deleted=False)


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
