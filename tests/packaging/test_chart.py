"""The chart's copies are what they are copies of, and its schema knows its values and no others.

What Helm makes of it: test_chart_rendered.py, and on a real cluster tests/e2e/test_chart.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from server_jobs_operator.resources.crds import files
from tools import values_schema, values_table

CHART = Path(__file__).resolve().parents[2] / "charts" / "server-jobs"
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_the_charts_definitions_are_those_of_the_operator() -> None:
    copies = {path.name: path.read_text("utf-8") for path in (CHART / "files/crds").iterdir()}

    assert copies == files(), "copy crds/*.yaml to charts/server-jobs/files/crds/"


def nested(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> list[str]:
    """Where schema and values disagree on what there is."""
    # What is empty by default is for others to fill.
    if "properties" not in schema or not values:
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


def test_the_schema_knows_the_operators_flags_and_the_definitions_spec() -> None:
    again = "run python -m tools.values_schema"
    assert values_schema.with_generated(SCHEMA) == SCHEMA, again


def test_settings_are_flags_and_none_that_the_chart_sets() -> None:
    known = set(SCHEMA["properties"]["settings"]["properties"])

    assert {"MAX_JOBS", "LEASE", "KEEP_COMPLETED", "INSTALL_ID"} <= known
    templates = [path.read_text("utf-8") for path in (CHART / "templates").rglob("*.yaml")]
    set_there = set(re.findall(r"SERVER_JOBS_OPERATOR_([A-Z_]+)", "".join(templates)))
    assert set_there <= values_schema.SET_BY_THE_CHART
    assert not known & values_schema.SET_BY_THE_CHART


def test_the_readme_has_every_value_as_it_is() -> None:
    readme = values_table.README.read_text(encoding="utf-8")

    again = "run python -m tools.values_table"
    assert readme == values_table.with_table(readme), again
