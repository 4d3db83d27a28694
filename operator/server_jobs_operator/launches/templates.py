"""Merges pod templates, as ``kubectl apply`` merges manifests. Pure.

The API server doesn't check a JobRunner's template, so it may contain anything.
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
"""Lists that are merged item by item: the field that names an item, and its type.

Other lists are joined.
"""

_LONGEST_EXCERPT = 60


class InvalidTemplate(ValueError):
    """A JobRunner's template isn't a pod template; the message says which field is wrong."""

    def __init__(self, path: str, value: Any, wanted: str) -> None:
        text = json.dumps(value, default=str)
        if len(text) > _LONGEST_EXCERPT:
            text = text[:_LONGEST_EXCERPT] + "…"
        super().__init__(f"{path} is {text}; it should be {wanted}")


def merged(base: Any, over: Any, path: str = "spec.template") -> Any:
    """``base`` with ``over`` merged into it.

    Mappings are merged field by field, and known lists item by item. For anything else, ``over``
    wins. Raises InvalidTemplate if a field of ``base`` has the wrong type; ``path`` is where
    ``base`` stands in the JobRunner.
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
    """Merges two lists whose items have names. The items of ``over`` come first.

    An environment variable may refer only to variables before it, and users refer to ours.
    """
    ours = {item[key] for item in over}
    theirs = {item[key]: (number, item) for number, item in enumerate(base)}
    both = []
    for item in over:
        number, their = theirs.get(item[key], (0, {}))
        # A variable has one source, so ours replaces theirs instead of being merged with it.
        replaces = "value" in item or "valueFrom" in item
        both.append(merged({} if replaces else their, item, f"{path}[{number}]"))
    return [*both, *(item for item in base if item[key] not in ours)]
