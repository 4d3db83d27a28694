"""Makes the CustomResourceDefinitions of the models: structural schemas, with rules in CEL.

``server-jobs-operator crds`` writes them. The files in crds/ and the chart's copy are its output.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from server_jobs_operator.cluster.names import GROUP, VERSION
from server_jobs_operator.resources.specs import JobRunnerSpec, JobScheduleSpec

Json = dict[str, Any]

_CONDITIONS: Json = {
    "type": "array",
    "description": "The state of the resource, as conditions.",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {
                "type": "string",
                "maxLength": 316,
                "description": "The name of the condition.",
            },
            "status": {
                "type": "string",
                "enum": ["True", "False", "Unknown"],
                "description": "Whether the condition holds.",
            },
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "The generation of the spec that the condition is about.",
            },
            "lastTransitionTime": {
                "type": "string",
                "format": "date-time",
                "description": "When the status of the condition last changed.",
            },
            "reason": {
                "type": "string",
                "maxLength": 1024,
                "description": "Why the condition has this status, in one word.",
            },
            "message": {
                "type": "string",
                "maxLength": 32768,
                "description": "Why the condition has this status, in a sentence.",
            },
        },
    },
}

_OBSERVED: Json = {
    "type": "integer",
    "format": "int64",
    "description": "The generation of the spec that the status is about.",
}


def _at_least(part: str) -> list[Json]:
    """Rules that a cap isn't lower than what a job gets without asking."""
    rules = []
    for amount in ("cpu", "memory", "ephemeralStorage"):
        ours, theirs = f"self.caps.{amount}", f"self.resources.{part}.{amount}"
        rules.append(
            {
                "rule": f"!has({ours}) || !has({theirs})"
                f" || quantity({ours}).compareTo(quantity({theirs})) >= 0",
                "message": f"caps.{amount} must be at least resources.{part}.{amount}",
                "fieldPath": f".caps.{amount}",
            }
        )
    return rules


_DOTTED = "[A-Za-z_][A-Za-z0-9_.]*"

_RUNNER_RULES: list[Json] = [
    *_at_least("requests"),
    *_at_least("limits"),
    {
        "rule": f"!has(self.app) || self.app.matches('^{_DOTTED}:{_DOTTED}$')",
        "message": "app must be module:registry, for example myapp.jobs:registry",
        "fieldPath": ".app",
    },
]

_FIVE_FIELDS = r"^\\s*(\\S+\\s+){4}\\S+\\s*$"
_ALIAS = r"^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$"

_SCHEDULE_RULES: list[Json] = [
    {
        "rule": f"self.schedule.matches('{_FIVE_FIELDS}') || self.schedule.matches('{_ALIAS}')",
        "message": "schedule must have five fields (minute, hour, day of month, month, day of week)"
        " or be one of @yearly, @monthly, @weekly, @daily, @hourly",
        "fieldPath": ".schedule",
    },
    {
        "rule": "!has(self.startsAt) || !has(self.endsAt) || self.startsAt < self.endsAt",
        "message": "endsAt must be later than startsAt",
        "fieldPath": ".endsAt",
    },
]


def job_runner_crd() -> Json:
    """The definition of JobRunner."""
    running = {"type": "integer", "description": "How many Kubernetes Jobs are in flight."}
    columns = [
        _column("Queues", "string", ".spec.queues"),
        _column("Running", "integer", ".status.running"),
        _column("Max", "integer", ".spec.maxConcurrency"),
        _column("Paused", "boolean", ".spec.paused"),
        _column("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
        _column("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason"),
        _column("Image", "string", ".spec.image", priority=1),
        _column("Age", "date", ".metadata.creationTimestamp"),
    ]
    spec = schema_of(JobRunnerSpec) | {"x-kubernetes-validations": _RUNNER_RULES}
    crd = _crd("JobRunner", "jrun", spec, {"running": running}, columns)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["x-kubernetes-validations"] = [
        {
            "rule": "size(self.metadata.name) <= 63",
            "message": "the name can't have more than 63 characters: it is a label of its Jobs",
        }
    ]
    return crd


def job_schedule_crd() -> Json:
    """The definition of JobSchedule."""
    moment = {"type": "string", "format": "date-time"}
    status = {
        "lastFireTime": moment | {"description": "The last fire time on which was decided."},
        "nextFireTime": moment | {"description": "The next fire time."},
        "lastJobId": {"type": "string", "description": "The id of the last job that it enqueued."},
        "lastDecision": {
            "type": "string",
            "description": "What was decided on the last fire time, for example fired or skipped.",
        },
    }
    columns = [
        _column("Schedule", "string", ".spec.schedule"),
        _column("Time zone", "string", ".spec.timeZone"),
        _column("Job", "string", ".spec.jobName"),
        _column("Suspend", "boolean", ".spec.suspend"),
        _column("Last", "date", ".status.lastFireTime"),
        _column("Next", "string", ".status.nextFireTime"),
        _column("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
        _column("Age", "date", ".metadata.creationTimestamp"),
    ]
    spec = schema_of(JobScheduleSpec) | {"x-kubernetes-validations": _SCHEDULE_RULES}
    return _crd("JobSchedule", "jsched", spec, status, columns)


def files() -> dict[str, str]:
    """The definitions as YAML, by the names of their files."""
    return {
        f"{crd['metadata']['name']}.yaml": "# Made by `server-jobs-operator crds`; don't edit.\n"
        + yaml.safe_dump(crd, sort_keys=False, width=100, allow_unicode=True)
        for crd in (job_runner_crd(), job_schedule_crd())
    }


def write(folder: Path) -> None:
    """Writes the definitions into a folder, one file each. The folder is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


def schema_of(model: type[BaseModel]) -> Json:
    """A model as a structural schema, which has no references and no ``anyOf`` with null."""
    document = model.model_json_schema(by_alias=True)
    definitions = document.pop("$defs", {})
    structural: Json = _structural(document, definitions)
    return structural


def _structural(node: Any, definitions: Mapping[str, Json]) -> Any:
    if isinstance(node, list):
        return [_structural(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        target = definitions[node.pop("$ref").rsplit("/", 1)[-1]]
        return _structural(target | node, definitions)
    if "anyOf" in node:
        kinds = [kind for kind in node.pop("anyOf") if kind.get("type") != "null"]
        if len(kinds) != 1:
            raise ValueError(f"a field of a structural schema can have only one type: {kinds}")
        return _structural(kinds[0] | node, definitions)
    if "default" in node:
        default = _without_none(node.pop("default"))
        node |= {} if default is None else {"default": default}
    node.pop("title", None)
    # This is where the models forbid unknown fields. The API server needs no such schema: it prunes
    # unknown fields, or refuses them if the client asks for strict validation.
    extra = node.pop("additionalProperties", None)
    if isinstance(extra, dict) and extra:
        node["additionalProperties"] = _structural(extra, definitions)
    for bound, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in node:
            node[inclusive] = node.pop(bound)
            node[bound] = True
    if node.get("type") == "object" and "maxProperties" not in node:
        node |= {"maxProperties": 50} if "additionalProperties" in node else {}
    if "properties" in node:
        properties = {
            name: _structural(schema, definitions) for name, schema in node["properties"].items()
        }
        return {
            key: properties if key == "properties" else value
            for key, value in sorted(node.items(), key=_order)
        }
    if "items" in node:
        node["items"] = _structural(node["items"], definitions)
    return dict(sorted(node.items(), key=_order))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(of) for name, of in value.items() if of is not None}
    return value


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    first = ("type", "description", "default", "required", "properties")
    return (first.index(item[0]) if item[0] in first else len(first), item[0])


def _column(name: str, kind: str, path: str, priority: int = 0) -> Json:
    column: Json = {"name": name, "type": kind, "jsonPath": path}
    return column | ({"priority": priority} if priority else {})


def _crd(kind: str, short_name: str, spec: Json, status: Json, columns: list[Json]) -> Json:
    """A definition. ``status`` has the properties that the statuses of other kinds don't have."""
    singular = kind.lower()
    plural = f"{singular}s"
    schema = {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": {
                "type": "object",
                "description": "The state of the resource, written by the operator.",
                "properties": {
                    "observedGeneration": _OBSERVED,
                    "conditions": _CONDITIONS,
                    **status,
                },
            },
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": singular,
                "shortNames": [short_name],
                "categories": ["server-jobs"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }
