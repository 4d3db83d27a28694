"""The Kubernetes page's tables are what the code says; its commands are run by tests/e2e."""

import json
import re
import typing

import pytest
from pydantic import BaseModel

from server_jobs_operator.cluster.reasons import Reason
from server_jobs_operator.resources.crds import schema_of
from server_jobs_operator.resources.specs import JobRunnerSpec, JobScheduleSpec
from server_jobs_operator.telemetry.metrics import Metrics
from tests.support.pages.markdown import ROOT, code_blocks, codes, tables

PAGE = ROOT / "docs" / "kubernetes.md"
RUNNER = ROOT / "runner" / "server_jobs" / "launches" / "runner.py"


@pytest.mark.parametrize(
    ("model", "heading"), [(JobRunnerSpec, "JobRunner"), (JobScheduleSpec, "JobSchedule")]
)
def test_fields_of_a_resource_are_those_of_its_model(model: type[BaseModel], heading: str) -> None:
    schema = schema_of(model)
    (rows,) = tables(PAGE)[heading]

    documented = [(codes(row["field"])[0], row["default"], row["meaning"]) for row in rows]
    assert documented == [
        (name, default(name, schema), field["description"])
        for name, field in schema["properties"].items()
    ]


def default(name: str, schema: dict[str, typing.Any]) -> str:
    """As the page has it; one that says nothing isn't shown."""
    if name in schema["required"]:
        return "required"
    value = schema["properties"][name].get("default")
    nothing = value is None or value == {} or value == {"requests": {}, "limits": {}}
    return "" if nothing else f"`{json.dumps(value)}`"


def test_metrics_are_those_of_the_code_with_their_labels() -> None:
    (rows,) = tables(PAGE)["Metrics"]

    documented = {codes(row["metric"])[0]: codes(row["labels"]) for row in rows}
    metrics = [it for it in vars(Metrics()).values() if hasattr(it, "_labelnames")]
    assert documented == {
        metric._name + ("_total" if metric._type == "counter" else ""): list(metric._labelnames)
        for metric in metrics
    }
    assert all(row[""] for row in rows)


def test_reasons_are_those_of_the_operator_and_of_the_runner() -> None:
    (rows,) = tables(PAGE)["Reasons"]

    documented = [name for row in rows for name in codes(row["reason"])]
    by_runner = re.findall(r'_lose_launch\(\s*"(\w+)"', RUNNER.read_text(encoding="utf-8"))
    assert len(documented) == len(set(documented))
    assert set(documented) == {reason.value for reason in Reason} | set(by_runner)
    assert all(row["means"] and row["what to do"] for row in rows)


def test_dockerfiles_of_the_page_are_those_that_are_built() -> None:
    blocks = code_blocks(PAGE, "dockerfile")

    assert len(blocks) == 2
    for block in blocks:
        (mark,) = block.marks
        file = ROOT / mark.removeprefix("file=")
        assert block.text == file.read_text(encoding="utf-8"), file
