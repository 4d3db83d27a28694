"""JobSchedules: what can't be kept is told."""

from server_jobs.schedules import ScheduleStore
from server_jobs_operator.cluster.names import API_VERSION, resources_path
from server_jobs_operator.controllers.job_schedules import JobSchedules
from tests.operator.bench import Bench


async def test_an_expression_that_cannot_be_kept_is_told_once(bench: Bench) -> None:
    store = ScheduleStore(bench.launches.database)
    schedules = JobSchedules(bench.kube, store, bench.settings, bench.events)
    body = {
        "apiVersion": API_VERSION,
        "kind": "JobSchedule",
        "metadata": {"namespace": "jobs", "name": "bad", "uid": "uid", "generation": 1},
        "spec": {"jobName": "SendEmail", "schedule": "99 * * * *"},
    }
    bench.kube.objects[resources_path("jobschedules", "jobs", "bad")] = body

    await schedules.changed(body, deleted=False)
    await schedules.refresh()

    assert await bench.settle_events() == [("JobSchedule", "InvalidSchedule")]
