"""Resource versions: which of two documents is newer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]


def is_older(body: Json, known: Json) -> bool:
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
