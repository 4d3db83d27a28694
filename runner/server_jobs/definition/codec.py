"""A job's params and result, between Python and the JSON text in the row."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import zip_longest
from typing import Any, Generic, NoReturn, TypeVar

# By attribute, so that pydantic loads what is used when it is used: importing stays cheap.
import pydantic

from server_jobs.definition.difference import Difference, difference, equality_tells
from server_jobs.errors import InvalidJobDataError, InvalidJobDefinitionError
from server_jobs.records.text import message_of

T = TypeVar("T")

SECRET_KEY = "$secret"  # noqa: S105 - the name under which one is stored
"""The mark of a secret in a row, ``{"$secret": "…"}``, by which programs know what to mask."""

_PLAIN_KEY = "$plain"
"""The wrapper of a user's own ``{"$secret": …}``, so that it isn't taken for a secret."""

MASK = "**********"
_SHORTEST_MASKED = 4
"""Shorter secrets aren't masked in texts: masking each "1" would garble them and reveal it."""

_UNREADABLE = "can be written as JSON but not read back (docs/jobs.md lists what can)"
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[\d.]+(?:[eE][+-]?\d+)?|NaN|-?Infinity')
_LISTS = (list, tuple, set, frozenset, deque)
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

    @cached_property
    def _equality_tells(self) -> bool:
        return equality_tells(self._adapter.core_schema)

    def validate(self, value: T | Mapping[str, Any]) -> T:
        """Return a valid value, made of a value of the type or of a mapping."""
        try:
            return self._adapter.validate_python(value)
        except pydantic.ValidationError as error:
            self._refuse(error)

    def dump(self, value: T, *, max_bytes: int | None) -> str:
        """Return a valid value as JSON text that every database stores and ``load`` reads.

        Raises the codec's error where the text would say nothing, too much, or another value.
        """
        try:
            text = self._text(value)
            size = len(text) if text.isascii() else len(text.encode())
        except Exception as error:  # noqa: BLE001 - pydantic's, or of a serializer of the user
            detail = type(error).__name__ if self._has_secrets else error
            raise self._error(f"{self._job_name}: {self._what} can't be JSON: {detail}") from (
                None if self._has_secrets else error
            )
        if "\\u0000" in text and _NUL.search(text):
            raise self._error(
                f"{self._job_name}: {self._what} hold a NUL character"
                f"{self._field_with_nul(value)}, which PostgreSQL can't store; strip it, or encode"
                " the bytes (base64)"
            )
        if max_bytes is not None and size > max_bytes:
            raise self._error(
                f"{self._job_name}: {self._what} are {size:,} bytes of JSON, more than the limit of"
                f" {max_bytes:,}; store the data elsewhere and pass a reference, or raise"
                " SERVER_JOBS_MAX_PAYLOAD_BYTES"
            )
        self._check_reading(value, text)
        return text

    def load(self, text: str) -> T:
        """Return the value of a row's JSON text."""
        try:
            return self._load(text)
        except pydantic.ValidationError as error:
            self._refuse(error)

    def stored(self, value: T) -> T:
        """Return a valid value as a database would give it back. Raises the codec's error."""
        return self.load(self.dump(value, max_bytes=None))

    def lists_wanted(self, text: str) -> set[tuple[str, ...]]:
        """Return the fields of a JSON text that want a list and have something else."""
        try:
            self._load(text)
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

    def _text(self, value: T) -> str:
        text = self._dump_with_secrets(value) if self._has_secrets else self._dump(value)
        return _JSON_TOKEN.sub(_spelled_out, text) if "e+" in text else text

    def _dump(self, value: T) -> str:
        # Names read back, aliases may not: there can be one for each direction.
        return self._adapter.serializer.to_json(
            value, by_alias=False, round_trip=True, warnings="error"
        ).decode()

    def _dump_with_secrets(self, value: T) -> str:
        masked = self._adapter.dump_python(
            value, mode="json", by_alias=False, round_trip=True, warnings="error"
        )
        return json.dumps(_reveal_into(masked, self._python(value)), ensure_ascii=False)

    def _load(self, text: str) -> T:
        # By name as we write it; by alias too, for rows that other programs insert.
        if self._has_secrets:
            text = self._revealed(text)
        value: T = self._adapter.validator.validate_json(text, by_alias=True, by_name=True)
        return value

    def _check_reading(self, value: T, text: str) -> None:
        """Refuse what a worker couldn't read, or would read as another value."""
        if ("NaN" in text or "Infinity" in text) and _has_constant(text):
            self._refuse_number(value)
            raise self._error(f"{self._job_name}: {self._what} can't be JSON: it has NaN")
        try:
            loaded = self._load(text)
            if self._equality_tells and _equal(value, loaded):
                return
            found = difference(value, loaded)
            if found is None or (not found.known and self._text(loaded) == text):
                return
        except pydantic.ValidationError as error:
            self._refuse_number(value)
            self._refuse(error, _UNREADABLE)
        except Exception as error:  # noqa: BLE001 - of a validator of the user, for instance
            detail = "" if self._has_secrets else f": {message_of(error)}"
            raise self._error(
                f"{self._job_name}: {self._what} {_UNREADABLE}:\n  {type(error).__name__}{detail}"
            ) from (None if self._has_secrets else error)
        self._refuse_number(value)
        field, given, read = found.field, self._shown(found.went_in), self._shown(found.came_back)
        raise self._error(
            f"{self._job_name}: {self._what} would come back as another value:\n"
            f"  {_cut(field) or '(whole)'}: {given} comes back as {read}; {_way_out(found)}"
            " (docs/jobs.md lists what comes back)"
        )

    def _shown(self, value: object) -> str:
        kind = type(value).__name__
        return f"a {kind}" if self._has_secrets else f"{_short(value)} ({kind})"

    def _refuse_number(self, value: T) -> None:
        """Refuse NaN and infinity, if there are any: JSON would write them as null."""
        for field, number in _not_finite(self._python(value)):
            raise self._error(
                f"{self._job_name}: {self._what} don't fit the schema:\n"
                f"  {field or '(whole)'}: {number!r} isn't a number that JSON has; use None or text"
            )

    def _python(self, value: T) -> Any:
        return self._adapter.dump_python(value, by_alias=False, round_trip=True)

    def _revealed(self, text: str) -> str:
        try:
            return json.dumps(_opened(json.loads(text)))
        except (ValueError, RecursionError):
            return text  # for pydantic to refuse

    def _field_with_nul(self, value: T) -> str:
        fields = [field for field, leaf in _leaves(self._python(value)) if "\0" in str(leaf)]
        return f" in {fields[0]}" if fields and fields[0] else ""

    def _refuse(
        self, error: pydantic.ValidationError, how: str = "don't fit the schema"
    ) -> NoReturn:
        problems = error.errors(include_url=False)
        lines = []
        for problem in problems[:_SHOWN_ERRORS]:
            field = _cut(".".join(map(str, problem["loc"]))) or "(whole)"
            got = "" if self._has_secrets else f" (got {_short(problem['input'])})"
            lines.append(f"  {field}: {problem['msg']}{got}")
        if len(problems) > _SHOWN_ERRORS:
            lines.append(f"  … and {len(problems) - _SHOWN_ERRORS} more")
        raise self._error(f"{self._job_name}: {self._what} {how}:\n" + "\n".join(lines)) from (
            None if self._has_secrets else error
        )


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


def _equal(value: object, other: object) -> bool:
    try:
        return bool(value == other)
    except Exception:  # noqa: BLE001 - of arrays, for instance; they are compared one by one
        return False


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
    # Both are dumps of one value, so they have the same items in the same order; where a serializer
    # makes them differ, the asterisks stay, and the value is refused since it doesn't come back.
    if isinstance(masked, dict):
        inner = value.values() if isinstance(value, dict) else ()
        pairs = zip_longest(masked.items(), inner) if len(inner) <= len(masked) else ()
        document = {key: _reveal_into(item, it) for (key, item), it in pairs}
        return {_PLAIN_KEY: document} if _looks_marked(document) else document
    if isinstance(masked, list) and isinstance(value, _LISTS) and len(masked) == len(value):
        return [_reveal_into(m, v) for m, v in zip(masked, value, strict=True)]
    return masked


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a document that isn't a container, with its field."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, _LISTS):
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


def _spelled_out(token: re.Match[str]) -> str:
    """Write 1e+22 as 10000000000000000000000.0, of which PostgreSQL's jsonb makes no integer."""
    text = token[0]
    return text if text[0] == '"' or "e+" not in text else f"{Decimal(text):f}.0"


def _has_constant(text: str) -> bool:
    """Return whether a text has NaN or Infinity outside its strings."""
    return any(token[0].endswith(("N", "y")) for token in _JSON_TOKEN.finditer(text))


def _way_out(found: Difference) -> str:
    given, read = type(found.went_in), type(found.came_back)
    if given is not read and read is not object and issubclass(given, read):
        return f"declare its type as {given.__name__}, or as the union of both"
    return "give the field a type whose JSON says which value it is, or pass what comes back"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's own __repr__, or more levels than Python has
        return f"<{type(value).__name__}>"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"
