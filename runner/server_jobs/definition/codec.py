"""A job's params and result, between Python and the JSON text in the row."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, NoReturn, TypeVar

# By attribute, so that pydantic loads what is used when it is used: importing stays cheap.
import pydantic
import pydantic_core

from server_jobs.errors import InvalidJobDataError, InvalidJobDefinitionError

T = TypeVar("T")

SECRET_KEY = "$secret"  # noqa: S105 - the name under which one is stored
"""The mark of a secret in a row, ``{"$secret": "…"}``, by which programs know what to mask."""

_PLAIN_KEY = "$plain"
"""The wrapper of a user's own ``{"$secret": …}``, so that it isn't taken for a secret."""

MASK = "**********"
_SHORTEST_MASKED = 4
"""Shorter secrets aren't masked in texts: masking each "1" would garble them and reveal it."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SHOWN_ERRORS = 5
_LIST_WANTED = {"list_type", "tuple_type", "set_type", "frozen_set_type"}


class Codec(Generic[T]):
    """Validates and serialises one pydantic type. Errors name the job and the field."""

    def __init__(
        self, type_: Any, *, job_name: str, what: str, error: type[InvalidJobDataError]
    ) -> None:
        self.type = type_
        self._job_name = job_name
        self._what = what
        self._error = error
        try:
            self._adapter: pydantic.TypeAdapter[T] = pydantic.TypeAdapter(type_)
        except Exception as problem:
            raise InvalidJobDefinitionError(
                f"{job_name}: pydantic can't make a {what} schema of {type_!r}: {problem}"
            ) from problem

    @cached_property
    def _has_secrets(self) -> bool:
        # Not asked before the first use: a model that is built late (it names a class that is
        # defined below it, or sets defer_build) has a schema without any fields until then.
        self._adapter.rebuild()
        # A name with "Secret" in it costs some speed where it isn't one of pydantic's types.
        return "Secret" in repr(self._adapter.core_schema)

    def validate(self, value: T | Mapping[str, Any]) -> T:
        """Return a valid value, made of a value of the type or of a mapping."""
        try:
            return self._adapter.validate_python(value)
        except pydantic.ValidationError as error:
            self._refuse(error)

    def dump(self, value: T, *, max_bytes: int) -> str:
        """Return a validated value as JSON text that every database stores unchanged."""
        try:
            text = self._dump_with_secrets(value) if self._has_secrets else self._dump(value)
            size = len(text.encode())
        except (pydantic_core.PydanticSerializationError, UnicodeError) as error:
            detail = type(error).__name__ if self._has_secrets else error
            raise self._error(f"{self._job_name}: {self._what} can't be JSON: {detail}") from (
                None if self._has_secrets else error
            )
        if "null" in text or "NaN" in text or "Infinity" in text:
            self._check_numbers(value, text)
        if "\\u0000" in text and _NUL.search(text):
            raise self._error(
                f"{self._job_name}: {self._what} hold a NUL character"
                f"{self._field_with_nul(value)}, which PostgreSQL can't store; strip it, or encode"
                " the bytes (base64)"
            )
        if size > max_bytes:
            raise self._error(
                f"{self._job_name}: {self._what} are {size:,} bytes of JSON, more than the limit of"
                f" {max_bytes:,}; store the data elsewhere and pass a reference, or raise"
                " SERVER_JOBS_MAX_PAYLOAD_BYTES"
            )
        return text

    def load(self, text: str) -> T:
        """Return the value of a row's JSON text."""
        try:
            # By name as we write it; by alias too, for rows that other programs insert.
            return self._adapter.validate_json(self._revealed(text), by_alias=True, by_name=True)
        except pydantic.ValidationError as error:
            self._refuse(error)

    def lists_wanted(self, text: str) -> set[tuple[str, ...]]:
        """Return the fields of a JSON text that want a list and have something else."""
        try:
            self._adapter.validate_json(self._revealed(text), by_alias=True, by_name=True)
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            return {tuple(map(str, p["loc"])) for p in problems if p["type"] in _LIST_WANTED}
        return set()

    def secrets_of(self, value: T) -> list[str]:
        """Return a value's secrets in every form in which a text may show them, longest first."""
        if not self._has_secrets:
            return []
        found = {_in_text(leaf) for _, leaf in _leaves(self._python(value)) if _is_secret(leaf)}
        # A traceback may show the text, its repr, or, indented, its lines.
        found |= {line for secret in found for line in secret.splitlines()}
        found |= {repr(secret)[1:-1] for secret in found}
        return sorted((s for s in found if len(s) >= _SHORTEST_MASKED), key=len, reverse=True)

    def _dump(self, value: T) -> str:
        # Names read back, aliases may not: there can be one for each direction.
        return self._adapter.dump_json(
            value, by_alias=False, round_trip=True, warnings="error"
        ).decode()

    def _dump_with_secrets(self, value: T) -> str:
        masked = self._adapter.dump_python(
            value, mode="json", by_alias=False, round_trip=True, warnings="error"
        )
        return json.dumps(_reveal_into(masked, self._python(value)), ensure_ascii=False)

    def _python(self, value: T) -> Any:
        return self._adapter.dump_python(value, by_alias=False, round_trip=True)

    def _revealed(self, text: str) -> str:
        if not self._has_secrets:
            return text
        try:
            return json.dumps(_opened(json.loads(text)))
        except (ValueError, RecursionError):
            return text  # for pydantic to refuse

    def _check_numbers(self, value: T, text: str) -> None:
        """Refuse NaN and infinity: JSON would write them as null."""
        numbers = _not_finite(self._python(value))
        if not numbers:
            return
        try:
            json.loads(text, parse_constant=_refuse_constant)
            # Unless the model spells them as strings.
            come_back = repr(_not_finite(self._python(self.load(text)))) == repr(numbers)
        except (ValueError, InvalidJobDataError):
            come_back = False
        if not come_back:
            field, number = numbers[0]
            raise self._error(
                f"{self._job_name}: {self._what} don't fit the schema:\n"
                f"  {field or '(whole)'}: {number!r} isn't a number that JSON has; use None or text"
            )

    def _field_with_nul(self, value: T) -> str:
        fields = [field for field, leaf in _leaves(self._python(value)) if "\0" in str(leaf)]
        return f" in {fields[0]}" if fields and fields[0] else ""

    def _refuse(self, error: pydantic.ValidationError) -> NoReturn:
        problems = error.errors(include_url=False)
        lines = []
        for problem in problems[:_SHOWN_ERRORS]:
            field = ".".join(map(str, problem["loc"])) or "(whole)"
            got = "" if self._has_secrets else f" (got {_short(problem['input'])})"
            lines.append(f"  {field}: {problem['msg']}{got}")
        if len(problems) > _SHOWN_ERRORS:
            lines.append(f"  … and {len(problems) - _SHOWN_ERRORS} more")
        raise self._error(
            f"{self._job_name}: {self._what} don't fit the schema:\n" + "\n".join(lines)
        ) from (None if self._has_secrets else error)


def mask_in_text(text: str, secrets: Sequence[str]) -> str:
    """Return the text with these secrets replaced by a mask."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def mask_secrets(document: Any) -> Any:
    """Return a decoded JSON document with every stored secret masked, to be shown to people."""
    if isinstance(document, dict):
        if set(document) == {SECRET_KEY}:
            return MASK
        if _is_wrapped(document):
            return {key: mask_secrets(value) for key, value in document[_PLAIN_KEY].items()}
        return {key: mask_secrets(value) for key, value in document.items()}
    if isinstance(document, list):
        return [mask_secrets(item) for item in document]
    return document


def _opened(document: Any) -> Any:
    """Return a stored document with its secrets revealed and wrapped values unwrapped."""
    if isinstance(document, list):
        return [_opened(item) for item in document]
    if not isinstance(document, dict):
        return document
    if set(document) == {SECRET_KEY}:
        return document[SECRET_KEY]
    if _is_wrapped(document):
        document = document[_PLAIN_KEY]
    return {key: _opened(value) for key, value in document.items()}


def _is_wrapped(document: dict[str, Any]) -> bool:
    inner = document.get(_PLAIN_KEY) if len(document) == 1 else None
    return isinstance(inner, dict) and _looks_marked(inner)


def _looks_marked(document: dict[str, Any]) -> bool:
    return set(document) in ({SECRET_KEY}, {_PLAIN_KEY})


def _is_secret(value: Any) -> bool:
    return isinstance(value, (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret))


def _in_text(secret: Any) -> str:
    value = secret.get_secret_value()
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _reveal_into(masked: Any, value: Any) -> Any:
    """Replace the asterisks that pydantic writes for secrets by the secrets themselves."""
    if _is_secret(value):
        secret = value.get_secret_value()
        return {SECRET_KEY: secret.decode() if isinstance(secret, bytes) else secret}
    if isinstance(masked, dict):
        by_key = {str(k): item for k, item in value.items()} if isinstance(value, dict) else {}
        document = {key: _reveal_into(item, by_key.get(key)) for key, item in masked.items()}
        return {_PLAIN_KEY: document} if _looks_marked(document) else document
    if isinstance(masked, list) and isinstance(value, (list, tuple, set, frozenset)):
        return [_reveal_into(m, v) for m, v in zip(masked, value, strict=True)]
    return masked


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a document that isn't a container, with its field."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, (list, tuple, set, frozenset)):
        items = enumerate(document)
    else:
        yield path, document
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _not_finite(document: Any) -> list[tuple[str, float]]:
    return [
        (field, leaf)
        for field, leaf in _leaves(document)
        if isinstance(leaf, float) and not math.isfinite(leaf)
    ]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} isn't JSON")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
