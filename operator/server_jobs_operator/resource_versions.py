"""Telling newer from older, and changes of a spec from those of a status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_older(body: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a list, which takes a while, tells less than is known by now of the same object.

    Versions are numbers that grow: etcd's always were, and since Kubernetes 1.35 all are
    (KEP-5504). Where they aren't, what is told last counts.
    """
    if body["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    try:
        return int(body["metadata"]["resourceVersion"]) < int(known["metadata"]["resourceVersion"])
    except (KeyError, ValueError):
        return False


def is_same_spec(body: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether nothing but metadata or status has changed since."""
    names = ("uid", "generation")
    return all(body["metadata"].get(name) == known["metadata"].get(name) for name in names)
