"""Merging pod templates, as ``kubectl`` merges what it applies. Pure.

A JobRunner's template is anything that its author wrote: the API server doesn't look into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KEYS: dict[str, tuple[str, type]] = {
    "containers": ("name", str),
    "initContainers": ("name", str),
    "env": ("name", str),
    "volumes": ("name", str),
    "volumeMounts": ("mountPath", str),
    "ports": ("containerPort", int),
    "imagePullSecrets": ("name", str),
}
"""Lists whose items have a name of their own; others are joined."""

_LONGEST_EXCERPT = 60


class InvalidTemplate(ValueError):
    """A JobRunner's template isn't one of a pod; the message says which field, and what it is."""

    def __init__(self, path: str, value: Any, wanted: str) -> None:
        text = json.dumps(value, default=str)
        if len(text) > _LONGEST_EXCERPT:
            text = text[:_LONGEST_EXCERPT] + "…"
        super().__init__(f"{path} is {text}; it should be {wanted}")


def merged(base: Any, over: Any, path: str = "spec.template") -> Any:
    """``over`` on ``base``: mappings field by field, known lists item by item; else over wins.

    Raises InvalidTemplate where the base's field at ``path`` isn't what it has to be.
    """
    if base is None:
        return over
    if isinstance(over, Mapping):
        if not isinstance(base, Mapping):
            raise InvalidTemplate(path, base, "an object with fields")
        fields = {**base}
        for name, value in over.items():
            has = name in fields
            fields[name] = merged(fields[name], value, f"{path}.{name}") if has else value
        return fields
    if isinstance(over, list):
        if not isinstance(base, list):
            raise InvalidTemplate(path, base, "a list")
        known = _KEYS.get(path.rpartition(".")[2])
        if known is None:
            return [*base, *(item for item in over if item not in base)]
        _check_items(base, *known, path)
        return _by_key(base, over, known[0], path)
    return over


def _check_items(items: list[Any], key: str, kind: type, path: str) -> None:
    of_what = "text" if kind is str else "a number"
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or key not in item:
            raise InvalidTemplate(f"{path}[{number}]", item, f"an object with a field {key}")
        if not isinstance(item[key], kind):
            raise InvalidTemplate(f"{path}[{number}].{key}", item[key], of_what)


def _by_key(base: list[Any], over: list[Any], key: str, path: str) -> list[Any]:
    """What is new comes first: variables may refer only to those before them."""
    ours = {item[key] for item in over}
    theirs = {item[key]: (number, item) for number, item in enumerate(base)}
    both = []
    for item in over:
        number, their = theirs.get(item[key], (0, {}))
        # A variable has one source: ours isn't to be joined with theirs.
        replaces = "value" in item or "valueFrom" in item
        both.append(merged({} if replaces else their, item, f"{path}[{number}]"))
    return [*both, *(item for item in base if item[key] not in ours)]
