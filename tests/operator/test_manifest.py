"""From a launch and its JobRunner to a Kubernetes Job."""

import json
from typing import Any

import pytest

from server_jobs import PodRuntime
from server_jobs_operator.launches.manifest import InvalidRuntime, job_manifest
from server_jobs_operator.launches.templates import merged
from server_jobs_operator.resources.runner_table import JobRunner
from tests.operator.samples import JOB_ID, SETTINGS, launch, runner


def manifest(of: JobRunner | None = None, **fields: Any) -> dict[str, Any]:
    return job_manifest(launch(**fields), of or runner(), SETTINGS)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = [one for one in pod_of(job)["containers"] if one["name"] == "runner"]
    assert isinstance(found, dict)
    return found


def environment_of(job: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container_of(job)["env"]}


def test_the_table_is_the_only_one_who_tries_again() -> None:
    job = manifest()

    assert job["metadata"]["name"] == f"job-{JOB_ID}-2"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert pod_of(job)["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in job["spec"]
    assert container_of(job)["args"] == ["run", "--job-id", JOB_ID, "--fence", "2"]


def test_a_launch_makes_the_same_job_each_time() -> None:
    assert manifest() == manifest()


def test_labels_say_whose_it_is() -> None:
    job = manifest(job_name="Send E-Mail/ü", queue="a queue")
    labels = job["metadata"]["labels"]

    assert labels["server-jobs.dev/install"] == "here"
    assert labels["server-jobs.dev/job-id"] == JOB_ID
    assert labels["server-jobs.dev/fence"] == "2"
    assert labels["server-jobs.dev/job-name"] == "Send-E-Mail"
    assert job["metadata"]["annotations"]["server-jobs.dev/job-name"] == "Send E-Mail/ü"
    assert job["spec"]["template"]["metadata"]["labels"].items() >= labels.items()


def test_the_backstop_is_later_than_everything_that_the_runner_does() -> None:
    job = manifest(timeout_seconds=60.0)

    assert job["spec"]["activeDeadlineSeconds"] == 900 + 60 + 30 + 5


def test_the_databases_url_comes_from_the_secret_alone() -> None:
    job = manifest()

    assert environment_of(job)["SERVER_JOBS_DATABASE_URL"] == {
        "secretKeyRef": {"name": "database", "key": "url"}
    }
    assert "://" not in json.dumps(job)


def test_the_worker_id_leads_back_to_the_runner_and_names_the_pod() -> None:
    names = [one["name"] for one in container_of(manifest())["env"]]

    assert environment_of(manifest())["SERVER_JOBS_WORKER_ID"] == (
        "k8s/here/jobs/default/$(SERVER_JOBS_POD_UID)"
    )
    assert names.index("SERVER_JOBS_POD_UID") < names.index("SERVER_JOBS_WORKER_ID")


def test_pods_fit_the_restricted_standard() -> None:
    job = manifest()

    assert pod_of(job)["automountServiceAccountToken"] is False
    assert pod_of(job)["securityContext"]["runAsNonRoot"] is True
    assert pod_of(job)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container_of(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_handler_has_its_grace_period_and_the_pod_a_little_more() -> None:
    job = manifest(runner(gracePeriodSeconds=60))

    assert environment_of(job)["SERVER_JOBS_GRACE"] == "60"
    assert pod_of(job)["terminationGracePeriodSeconds"] == 65


def test_the_runner_is_told_how_often_a_launch_may_fail() -> None:
    job = manifest(runner(maxLaunchFailures=3))

    assert environment_of(job)["SERVER_JOBS_MAX_LAUNCH_FAILURES"] == "3"


def test_kueue_admits_it() -> None:
    job = manifest(runner(kueue={"queueName": "team"}))

    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"


# ── what a job asks for ──────────────────────────────────────────────────────────────────────


def test_without_a_runtime_the_runner_says_what_a_pod_gets() -> None:
    resources = {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}}

    assert container_of(manifest(runner(resources=resources)))["resources"] == resources


def test_what_is_asked_for_goes_before_it() -> None:
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    runtime = PodRuntime(cpu="1", memory="512Mi", ephemeral_storage="1Gi").to_json()

    job = manifest(runner(resources=resources), runtime=runtime)

    assert container_of(job)["resources"] == {
        "requests": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "512Mi"},
    }


@pytest.mark.parametrize(("cpu", "fits"), [("2", True), ("2000m", True), ("2001m", False)])
def test_no_more_than_the_caps(cpu: str, fits: bool) -> None:
    capped = runner(caps={"cpu": "2"})
    runtime = PodRuntime(cpu=cpu).to_json()

    if fits:
        manifest(capped, runtime=runtime)
    else:
        with pytest.raises(InvalidRuntime, match=r"asks for cpu=2001m.* caps it at 2"):
            manifest(capped, runtime=runtime)


@pytest.mark.parametrize(
    ("times", "memory"), [(0, "100Mi"), (1, str(150 * 2**20)), (2, str(200 * 2**20))]
)
def test_memory_grows_after_each_death_for_want_of_it_up_to_the_cap(
    times: int, memory: str
) -> None:
    runtime = PodRuntime(memory="100Mi").retry_on_oom(memory_factor=1.5).to_json()

    job = manifest(runner(caps={"memory": "200Mi"}), runtime=runtime, out_of_memory=times)

    assert container_of(job)["resources"]["limits"]["memory"] == memory


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        (PodRuntime(image="evil:1"), r"image=evil:1.*spec\.allow\.images"),
        (PodRuntime(node_selector={"gpu": "yes"}), r"node_selector=gpu.*nodeSelectors"),
        (PodRuntime(tolerations=[{"key": "gpu"}]), r"tolerations=gpu.*spec\.allow\.tolerations"),
    ],
)
def test_privileges_are_refused_unless_they_are_allowed(runtime: PodRuntime, says: str) -> None:
    with pytest.raises(InvalidRuntime, match=says):
        manifest(runtime=runtime.to_json())


def test_what_is_allowed_is_applied() -> None:
    allowed = runner(allow={"images": ["team/*"], "nodeSelectors": ["gpu"], "tolerations": ["gpu"]})
    runtime = PodRuntime(
        image="team/train:2",
        node_selector={"gpu": "yes"},
        tolerations=[{"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}],
    )

    job = manifest(allowed, runtime=runtime.to_json())

    assert container_of(job)["image"] == "team/train:2"
    assert pod_of(job)["nodeSelector"] == {"gpu": "yes"}
    assert pod_of(job)["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}
    ]


@pytest.mark.parametrize(
    "runtime",
    [
        "[]",
        '{"cpu": "many"}',
        '{"bogus": 1}',
        '{"cpu": 1}',
        '{"cpu": ' + "[" * 60_000,
        '{"cpu": ' + "9" * 5_000 + "}",
    ],
)
def test_a_runtime_that_makes_no_sense_is_refused_by_name(runtime: str) -> None:
    with pytest.raises(InvalidRuntime, match="SendEmail: its runtime can't be read"):
        manifest(runtime=runtime)


@pytest.mark.parametrize("amount", ["0", "0Mi", "0.0", ".0Gi"])
@pytest.mark.parametrize("name", ["cpu", "memory", "ephemeral_storage"])
def test_nothing_is_no_amount_since_it_would_lift_the_limit(name: str, amount: str) -> None:
    with pytest.raises(InvalidRuntime, match=f"{name}='{amount}' is no amount"):
        manifest(runner(caps={"memory": "96Mi"}), runtime=json.dumps({name: amount}))


def test_a_runtime_is_measured_before_it_is_read() -> None:
    many = json.dumps(dict.fromkeys(map(str, range(10_000))))
    with pytest.raises(InvalidRuntime, match=r"SendEmail: its runtime has \d+,\d+ characters"):
        manifest(runtime=many)


# ── the runner's template ────────────────────────────────────────────────────────────────────


def test_a_template_adds_and_does_not_take_away() -> None:
    template = {
        "metadata": {"labels": {"team": "a", "server-jobs.dev/job-id": "forged"}},
        "spec": {
            "restartPolicy": "Always",
            "nodeSelector": {"disk": "ssd"},
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "containers": [
                {
                    "name": "runner",
                    "image": "other",
                    "env": [
                        {"name": "MODE", "value": "fast"},
                        {"name": "SERVER_JOBS_DATABASE_URL", "value": "sqlite:///x.db"},
                    ],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                },
                {"name": "proxy", "image": "proxy:1"},
            ],
        },
    }

    job = manifest(runner(template=template))

    assert job["spec"]["template"]["metadata"]["labels"]["team"] == "a"
    assert job["spec"]["template"]["metadata"]["labels"]["server-jobs.dev/job-id"] == JOB_ID
    assert pod_of(job)["restartPolicy"] == "Never"
    assert pod_of(job)["nodeSelector"] == {"disk": "ssd"}
    assert {volume["name"] for volume in pod_of(job)["volumes"]} == {"cache", "tmp"}
    assert [one["name"] for one in pod_of(job)["containers"]] == ["runner", "proxy"]
    assert container_of(job)["image"] == "jobs:1"
    assert environment_of(job)["MODE"] == "fast"
    assert "secretKeyRef" in environment_of(job)["SERVER_JOBS_DATABASE_URL"]
    assert {mount["mountPath"] for mount in container_of(job)["volumeMounts"]} == {"/cache", "/tmp"}


def test_lists_without_names_are_joined() -> None:
    assert merged({"args": [1]}, {"args": [1, 2]}) == {"args": [1, 2]}
    assert merged({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}) == {"a": {"b": 2, "c": 1}}
