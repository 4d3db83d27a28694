"""The chart's copies are what they are copies of, and its schema knows its values and no others.

What Helm makes of it is tried on a real cluster.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from server_jobs_operator.crds import files
from tests.support import values_table

CHART = Path(__file__).resolve().parents[2] / "charts" / "server-jobs"
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_the_charts_definitions_are_those_of_the_operator() -> None:
    copies = {path.name: path.read_text("utf-8") for path in (CHART / "files/crds").iterdir()}

    assert copies == files(), "copy crds/*.yaml to charts/server-jobs/files/crds/"


def nested(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> list[str]:
    """Where schema and values disagree on what there is."""
    if "properties" not in schema:
        return []
    assert schema["additionalProperties"] is False, path
    known, given = set(schema["properties"]) - {"global"}, set(values)
    found = [f"{path}.{name}" for name in known ^ given]
    for name in known & given:
        if isinstance(values[name], dict):
            found += nested(schema["properties"][name], values[name], f"{path}.{name}")
    return found


def test_the_schema_knows_every_value_and_no_other() -> None:
    assert nested(SCHEMA, VALUES) == []


@pytest.mark.parametrize("name", ["deployment.yaml", "migrate-hook.yaml", "tests/doctor.yaml"])
def test_no_template_puts_a_url_in_clear(name: str) -> None:
    text = (CHART / "templates" / name).read_text(encoding="utf-8")

    assert "://" not in text
    assert 'include "server-jobs.secret"' in text or 'include "server-jobs.migrate"' in text


def test_the_dashboard_is_json_and_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
    documented = (CHART.parents[1] / "docs" / "kubernetes.md").read_text(encoding="utf-8")

    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            (metric,) = {
                word.removesuffix("_bucket")
                for word in target["expr"]
                .replace("(", " ")
                .replace(")", " ")
                .replace("[", " ")
                .split()
                if word.startswith("server_jobs_")
            }
            assert f"`{metric}`" in documented, metric


def test_the_readme_has_every_value_as_it_is() -> None:
    readme = values_table.README.read_text(encoding="utf-8")

    again = "run python -m tests.support.values_table"
    assert readme == values_table.with_table(readme), again
