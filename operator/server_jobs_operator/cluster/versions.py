"""Resource versions: which of two bodies of one object is newer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]


def is_older(body: Json, known: Json) -> bool:
    """Whether ``body`` is an older version of the object than ``known``. Lists can be that late.

    Resource versions are growing numbers: with etcd they always were, and since Kubernetes 1.35
    they are everywhere (KEP-5504). If they aren't numbers, the body that arrived last counts.
    """
    if body["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    try:
        return int(body["metadata"]["resourceVersion"]) < int(known["metadata"]["resourceVersion"])
    except (KeyError, ValueError):
        return False
