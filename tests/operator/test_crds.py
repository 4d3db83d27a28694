"""The definitions in crds/: made of the models, and structural."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from server_jobs_operator.resources.crds import files, schema_of
from server_jobs_operator.resources.specs import JobRunnerSpec, JobScheduleSpec
from tests.operator.samples import spec

FOLDER = Path(__file__).resolve().parents[2] / "crds"
MODELS: dict[str, type[BaseModel]] = {"JobRunner": JobRunnerSpec, "JobSchedule": JobScheduleSpec}


def test_the_files_are_what_the_models_say() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}

    assert written == files(), "run `server-jobs-operator crds --out crds`"


@pytest.fixture(params=sorted(MODELS))
def definition(request: pytest.FixtureRequest) -> dict[str, Any]:
    found = [yaml.safe_load(text) for text in files().values()]
    return next(one for one in found if one["spec"]["names"]["kind"] == request.param)


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "type" in node and isinstance(node["type"], str):
            yield node
        for value in node.values():
            yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


def test_schemas_are_structural_and_explained(definition: dict[str, Any]) -> None:
    (version,) = definition["spec"]["versions"]
    top = version["schema"]["openAPIV3Schema"]["properties"]

    for schema in [*schemas(top["spec"]), *schemas(top["status"])]:
        assert not {"$ref", "anyOf", "oneOf", "allOf", "title"} & schema.keys()
        if schema["type"] == "array":
            assert "items" in schema
    for name, field in top["spec"]["properties"].items():
        assert field["description"], name


def test_every_field_of_the_model_is_there_with_its_default(definition: dict[str, Any]) -> None:
    model = MODELS[definition["spec"]["names"]["kind"]]
    properties = schema_of(model)["properties"]

    assert set(properties) == {field.alias for field in model.model_fields.values()}


def test_columns_short_names_and_status(definition: dict[str, Any]) -> None:
    (version,) = definition["spec"]["versions"]

    assert definition["spec"]["scope"] == "Namespaced"
    assert definition["spec"]["names"]["shortNames"]
    assert version["subresources"] == {"status": {}}
    assert "Ready" in [column["name"] for column in version["additionalPrinterColumns"]]


def test_defaults_of_the_schema_are_those_of_the_model() -> None:
    given = spec()
    properties = schema_of(JobRunnerSpec)["properties"]
    filled = {name: field["default"] for name, field in properties.items() if "default" in field}

    assert spec(**filled) == given
