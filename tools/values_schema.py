"""The parts of the chart's values.schema.json that the code knows better.

`python -m tools.values_schema` writes them: the operator's settings are its flags, and the
default JobRunner's spec is that of the definition.
"""

import json
from pathlib import Path
from typing import Any

from server_jobs_operator.options import SETTINGS
from server_jobs_operator.resources.crds import job_runner_crd

SCHEMA = Path(__file__).resolve().parents[1] / "charts" / "server-jobs" / "values.schema.json"
PREFIX = "SERVER_JOBS_OPERATOR_"

SET_BY_THE_CHART = {
    "ALL_NAMESPACES", "CONFIG_MAP", "HEALTH_PORT", "LEASE_NAME", "METRICS_PORT", "NAMESPACE",
    "OWN_NAMESPACE",
}  # fmt: skip
"""By other values, by its templates, or by where it is installed."""

Json = dict[str, Any]

_TYPES: dict[type, Json] = {
    int: {"type": ["integer", "string"], "pattern": "^[0-9]+$"},
    float: {"type": ["number", "string"], "pattern": "^[0-9]+(\\.[0-9]+)?$"},
    bool: {"type": ["boolean", "string"], "pattern": "^(true|false)$"},
}


def settings() -> Json:
    """What may be set: each setting of the operator, but for what the chart sets itself."""
    properties = {}
    for setting in SETTINGS.values():
        name = setting.variable.removeprefix(PREFIX)
        if name not in SET_BY_THE_CHART:
            known = {} if setting.is_duration else _TYPES.get(type(setting.default), {})
            properties[name] = {**(known or {"type": "string"}), "description": setting.help}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def default_runner_spec() -> Json:
    """As the API server checks it, in Helm's dialect; the chart fills in the database."""
    version = job_runner_crd()["spec"]["versions"][0]
    spec: Json = _draft_7(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    # Without `enabled` the spec may be empty; with it the schema asks for the image.
    del spec["required"]
    return spec


def _draft_7(node: Any) -> Any:
    if isinstance(node, list):
        return [_draft_7(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = "properties" in node and "x-kubernetes-preserve-unknown-fields" not in node
    found = {
        key: {name: _draft_7(of) for name, of in value.items()} if key == "properties"
        else _draft_7(value)
        for key, value in node.items()
        if not key.startswith("x-kubernetes-") and key != "default"
    }  # fmt: skip
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if found.get(exclusive) is True:
            found[exclusive] = found.pop(bound)
    return found | ({"additionalProperties": False} if closed else {})


def with_generated(schema: Json) -> Json:
    """The schema with both parts as they should be."""
    schema = json.loads(json.dumps(schema))
    schema["properties"]["settings"] = settings()
    schema["properties"]["defaultRunner"]["properties"]["spec"] = default_runner_spec()
    return schema


if __name__ == "__main__":
    text = json.dumps(with_generated(json.loads(SCHEMA.read_text("utf-8"))), indent=2)
    SCHEMA.write_text(f"{text}\n", encoding="utf-8")
