"""Merging pod templates, as ``kubectl`` merges what it applies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
}
"""Lists whose items have a name of their own; others are joined."""


def merged(base: Any, over: Any, within: str = "") -> Any:
    """``over`` on ``base``: mappings field by field, known lists item by item; else over wins."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        fields = {**base}
        for name, value in over.items():
            fields[name] = merged(fields[name], value, name) if name in fields else value
        return fields
    if isinstance(base, list) and isinstance(over, list):
        key = _KEYS.get(within)
        if key is None:
            return [*base, *(item for item in over if item not in base)]
        return _by_key(base, over, key)
    return over


def _by_key(base: list[Any], over: list[Any], key: str) -> list[Any]:
    """What is new comes first: variables may refer only to those before them."""
    ours = {item[key]: item for item in over}
    theirs = {item.get(key): item for item in base if isinstance(item, Mapping)}
    both = [
        merged({} if key == "name" and _has_value(item) else theirs.get(item[key], {}), item)
        for item in over
    ]
    return [*both, *(item for item in base if item.get(key) not in ours)]


def _has_value(item: Mapping[str, Any]) -> bool:
    """A variable has one source: ours isn't to be joined with theirs."""
    return "value" in item or "valueFrom" in item
