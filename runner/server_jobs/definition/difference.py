"""Finds where a value that came back from JSON differs from the one that went in.

The rule is Python's own ``==``, field by field. It is widened where a type doesn't say which of two
equals it wants (a tuple and the list of its items), and where ``==`` says nothing (NaN, moments
that a zone has twice, classes without an ``__eq__``). A model's private attributes don't count.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import pydantic

_PLAIN = {str, int, bool, float, bytes, date, timedelta, UUID, type(None)}
"""Types whose ``==`` is quick and says it all, but for NaN."""


class Difference(NamedTuple):
    """The first place where two values differ."""

    field: str
    """The path to it, such as ``items.3.price``; empty for the whole value."""
    went_in: Any
    came_back: Any
    known: bool = True
    """False if ``==`` can't tell whether the two differ, as for a class without an ``__eq__``."""


def difference(went_in: Any, came_back: Any) -> Difference | None:
    """Return where the two differ, or None. What is known to differ goes before what may."""
    return _difference(went_in, came_back, "")


def equality_tells(core_schema: Any) -> bool:
    """Return whether no class of pydantic's core schema has an ``__eq__`` that may skip fields.

    Then ``==`` alone can say that two values are the same, which is far quicker for large ones.
    """
    if isinstance(core_schema, dict):
        kind = core_schema.get("cls")
        if isinstance(kind, type) and kind.__eq__ not in _honest():
            return False
        return all(map(equality_tells, core_schema.values()))
    if isinstance(core_schema, (list, tuple)):
        return all(map(equality_tells, core_schema))
    return True


@cache
def _honest() -> frozenset[Any]:
    """Return the ``__eq__`` of models, enumerations and typed dicts that define none."""
    kinds = (pydantic.BaseModel, pydantic.RootModel, object, int, str, dict)
    return frozenset(kind.__eq__ for kind in kinds)


def _difference(a: Any, b: Any, path: str) -> Difference | None:
    kind = type(a)
    if kind in _PLAIN:
        return None if a == b or (a != a and b != b) else Difference(path, a, b)
    if isinstance(a, pydantic.BaseModel):
        return _of_models(a, b, path)
    if isinstance(a, Mapping):
        return _of_mappings(a, b, path)
    if kind is list or kind is tuple:
        alike = type(b) is list or type(b) is tuple
    elif isinstance(a, (list, tuple, deque)):
        alike = type(b) is kind
    elif dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        return _of_attributes(a, b, names, path)
    else:
        return _of_leaves(a, b, path)
    if not alike or len(a) != len(b):
        return Difference(path, a, b)
    if _all_plain(a) and list(a) == list(b):
        return None
    return _first(
        _difference(mine, theirs, _below(path, index))
        for index, (mine, theirs) in enumerate(zip(a, b, strict=True))
    )


def _all_plain(values: Iterable[Any]) -> bool:
    """Return whether all are of plain types: then a container's own ``==`` can be trusted."""
    return _PLAIN.issuperset(map(type, values))


def _of_models(a: pydantic.BaseModel, b: Any, path: str) -> Difference | None:
    if type(a) is not type(b):
        return Difference(path, a, b)
    mine, theirs = a.__dict__, b.__dict__
    if isinstance(a, pydantic.RootModel):
        return _difference(mine["root"], theirs["root"], path)
    if not a.__pydantic_extra__ and _all_plain(mine.values()) and mine == theirs:
        return None
    # A default that the model's author keeps out of the JSON isn't a value that somebody gave.
    names = [
        name
        for name, field in type(a).__pydantic_fields__.items()
        if name in a.model_fields_set or not (field.exclude or getattr(field, "exclude_if", None))
    ]
    found = _of_attributes(a, b, names, path)
    if found is not None and found.known:
        return found
    return _of_mappings(a.__pydantic_extra__ or {}, b.__pydantic_extra__ or {}, path) or found


def _of_attributes(a: Any, b: Any, names: Iterable[str], path: str) -> Difference | None:
    if type(a) is not type(b):
        return Difference(path, a, b)
    missing = object()
    return _first(
        _difference(getattr(a, name, missing), getattr(b, name, missing), _below(path, name))
        for name in names
    )


def _of_mappings(a: Mapping[Any, Any], b: Any, path: str) -> Difference | None:
    if not isinstance(b, Mapping) or len(a) != len(b):
        return Difference(path, a, b)
    if a.keys() == b.keys():
        pairs = ((key, key, a[key], b[key]) for key in a)
    else:
        # In the order that JSON text keeps: a key that came back as another has no other partner.
        pairs = ((key, k, a[key], b[k]) for key, k in zip(a, b, strict=True))
    return _first(
        _difference(key, k, _below(path, f"{key}.[key]"))
        or _difference(mine, theirs, _below(path, key))
        for key, k, mine, theirs in pairs
    )


def _of_leaves(a: Any, b: Any, path: str) -> Difference | None:
    if isinstance(a, datetime) and isinstance(b, datetime):
        # Two zones' clocks are never equal in an hour that one of them has twice.
        alike = _clock(a) == _clock(b)
        return None if alike else Difference(path, a, b)
    try:
        if a == b or (a != a and b != b and repr(a) == repr(b)):
            return None
    except Exception:  # noqa: BLE001 - a user's own __eq__, or one of arrays
        return Difference(path, a, b, known=False)
    comparing: object = type(a).__eq__
    known = type(a) is not type(b) or comparing is not object.__eq__
    return Difference(path, a, b, known)


def _clock(moment: datetime) -> tuple[datetime, timedelta | None]:
    return moment.replace(tzinfo=None, fold=0), moment.utcoffset()


def _first(found: Iterable[Difference | None]) -> Difference | None:
    """Return the first known difference, or else the first possible one."""
    possible = None
    for one in found:
        if one is not None and one.known:
            return one
        possible = possible or one
    return possible


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
