"""From ``--param name=value`` to a job's params.

``name=value`` is text that becomes what the schema wants; ``name:=json`` is JSON. Dots in the name
lead into nested params, and a name that is repeated makes a list.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from pydantic import AliasChoices, BaseModel

from server_jobs.definition.codec import Codec
from server_jobs.errors import InvalidParamsError
from server_jobs.job import Job

_HINT = "'--param'"


def build_params(job: Job[Any, Any], text: str, given: Sequence[str]) -> Any:
    """Return the params of JSON text, with single ones replaced or added. ``-`` is stdin.

    Raises InvalidParamsError, and BadParameter for what is no param.
    """
    try:
        # JSON is UTF-8, whatever the locale says of stdin.
        text = sys.stdin.buffer.read().decode("utf-8-sig") if text == "-" else text
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParamsError(f"{job.name}: --params-json isn't JSON: {error}") from None
    codec = job.definition.params
    if not given:
        return codec.load(text)
    if not isinstance(document, dict):
        raise InvalidParamsError(
            f"{job.name}: --param adds to an object, and --params-json is none; give one of the two"
        )
    values = _values(given)
    _refuse_unknown(job.name, codec, [path[0] for path in values])
    for path, value in values.items():
        _put(document, path, value)
    return _load(codec, document, {path for path, _, is_json in map(_parsed, given) if not is_json})


def _values(given: Sequence[str]) -> dict[tuple[str, ...], Any]:
    """Return the value of each path, or a list of values if it was given more than once."""
    several: dict[tuple[str, ...], list[Any]] = {}
    for path, value, _ in map(_parsed, given):
        several.setdefault(path, []).append(value)
    return {path: values[0] if len(values) == 1 else values for path, values in several.items()}


def _parsed(text: str) -> tuple[tuple[str, ...], Any, bool]:
    """Return the path, the value, and whether the value was JSON. Raises BadParameter.

    The error never shows the value, because it may be a secret.
    """
    name, equals, value = text.partition("=")
    is_json = name.endswith(":")
    path = tuple(name.removesuffix(":").split("."))
    if not equals or not all(path):
        raise typer.BadParameter(
            "write name=text, name:=json or outer.inner=text"
            + (f", not {name}=…." if equals else "."),
            param_hint=_HINT,
        )
    if not is_json:
        return path, value, False
    try:
        return path, json.loads(value), True
    except ValueError as error:
        raise typer.BadParameter(
            f"{name}= isn't followed by JSON ({error}); text is given with = alone.",
            param_hint=_HINT,
        ) from None


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for depth, name in enumerate(path[:-1], start=1):
        inner = document.setdefault(name, {})
        if not isinstance(inner, dict):
            outer = ".".join(path[:depth])
            raise typer.BadParameter(
                f"{'.'.join(path)} leads into {outer}, which has a value already.",
                param_hint=_HINT,
            )
        document = inner
    document[path[-1]] = value


def _load(codec: Codec[Any], document: dict[str, Any], texts: set[tuple[str, ...]]) -> Any:
    """Return validated params. Where a list is wanted, a single value becomes a list of one."""
    lists = codec.lists_wanted(json.dumps(document))
    for path in texts & lists:
        inner = document
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = [inner[path[-1]]]
    return codec.load(json.dumps(document))


def _refuse_unknown(job_name: str, codec: Codec[Any], names: Sequence[str]) -> None:
    """Refuse names that the params don't have. pydantic would ignore a misspelt name."""
    known = set(_names_of(codec.type))
    for name in names:
        if known and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidParamsError(
                f"{job_name}: params have no {name!r}{hint} (they have: {', '.join(sorted(known))})"
            )


def _names_of(model: Any) -> Iterator[str]:
    """Return the names of a model's fields, or none if the model may read other names, too."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    if model.model_config.get("extra") in {"allow", "forbid"}:
        return
    if any(
        validator.info.mode != "after"
        for validator in model.__pydantic_decorators__.model_validators.values()
    ):
        return
    for name, field in model.model_fields.items():
        yield name
        alias = field.validation_alias
        for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            if choice is not None:
                yield choice if isinstance(choice, str) else str(choice.path[0])
