"""Templates that aren't ones: the API server looks into none of them."""

from typing import Any

import pytest

from server_jobs_operator.launches.manifest import job_manifest
from server_jobs_operator.launches.templates import InvalidTemplate
from tests.operator.samples import SETTINGS, launch, runner


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "proxy"}, {"name": "runner", **fields}]}}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"spec": []}, "spec.template.spec is []; it should be an object with fields"),
        ({"metadata": "me"}, 'spec.template.metadata is "me"; it should be an object with fields'),
        ({"spec": {"containers": {}}}, "spec.template.spec.containers is {}; it should be a list"),
        (
            {"spec": {"containers": ["x"]}},
            'spec.template.spec.containers[0] is "x"; it should be an object with a field name',
        ),
        (
            {"spec": {"containers": [{"name": {}}]}},
            "spec.template.spec.containers[0].name is {}; it should be text",
        ),
        (
            {"spec": {"volumes": ["tmp"]}},
            'spec.template.spec.volumes[0] is "tmp"; it should be an object with a field name',
        ),
        (
            container(env=["A=b"]),
            'spec.template.spec.containers[1].env[0] is "A=b"; it should be an object',
        ),
        (
            container(env=[{"value": "b"}]),
            "it should be an object with a field name",
        ),
        (
            container(volumeMounts=[{"mountPath": ["/a"]}]),
            "spec.template.spec.containers[1].volumeMounts[0].mountPath is",
        ),
        (container(securityContext="none"), "containers[1].securityContext is"),
        (container(env={"A": "b" * 1000}), "…; it should be a list"),
    ],
)
def test_a_template_that_is_none_is_refused_by_the_field(
    template: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidTemplate) as refusal:
        job_manifest(launch(), runner(template=template), SETTINGS)

    assert says in str(refusal.value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "template",
    [
        {"spec": None},
        {"metadata": None, "spec": {"volumes": None, "restartPolicy": {}}},
        container(env=None, securityContext=None),
    ],
)
def test_a_field_that_is_empty_or_ours_anyway_does_no_harm(template: dict[str, Any]) -> None:
    pod = job_manifest(launch(), runner(template=template), SETTINGS)["spec"]["template"]["spec"]

    assert pod["restartPolicy"] == "Never"
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
