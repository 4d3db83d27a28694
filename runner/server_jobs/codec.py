"""A job's params and result, between Python and the JSON text in the row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from server_jobs.errors import InvalidJobDataError, InvalidJobDefinitionError

T = TypeVar("T")

SECRET_KEY = "$secret"  # noqa: S105 - the name under which one is stored
"""How a secret is marked in a row: ``{"$secret": "…"}``, so that whatever shows it can mask it."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SHOWN_ERRORS = 5


class Codec(Generic[T]):
    """Validates and serialises one pydantic type. Errors name the job and the field."""

    def __init__(
        self, type_: Any, *, job_name: str, what: str, error: type[InvalidJobDataError]
    ) -> None:
        self._job_name = job_name
        self._what = what
        self._error = error
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(type_)
            schema = self._adapter.json_schema(mode="validation")
        except Exception as problem:
            raise InvalidJobDefinitionError(
                f"{job_name}: pydantic can't make a {what} schema of {type_!r}: {problem}"
            ) from problem
        self.schema = schema
        # pydantic describes its secret types as write-only passwords.
        self._has_secrets = '"writeOnly": true' in json.dumps(schema)

    def validate(self, value: T | Mapping[str, Any]) -> T:
        """A value of the type, or a mapping that becomes one."""
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            self._refuse(error)

    def dump(self, value: T, *, max_bytes: int) -> str:
        """A validated value as JSON text that every database stores unchanged."""
        try:
            if self._has_secrets:
                text = self._dump_with_secrets(value)
            else:
                text = self._adapter.dump_json(value, warnings="error").decode()
            if "null" in text:
                # NaN and infinity are written as null; they'd come back as something else.
                self._adapter.validate_json(self._revealed(text))
        except ValidationError as error:
            self._refuse(error)
        except (PydanticSerializationError, UnicodeError) as error:
            raise self._error(f"{self._job_name}: {self._what} can't be JSON: {error}") from error
        if "\\u0000" in text and _NUL.search(text):
            raise self._error(
                f"{self._job_name}: {self._what} hold a NUL character, which PostgreSQL can't"
                " store; strip it, or encode the bytes (base64)"
            )
        size = len(text.encode())
        if size > max_bytes:
            raise self._error(
                f"{self._job_name}: {self._what} are {size:,} bytes of JSON, more than the limit of"
                f" {max_bytes:,}; store the data elsewhere and pass a reference, or raise"
                " SERVER_JOBS_MAX_PAYLOAD_BYTES"
            )
        return text

    def load(self, text: str) -> T:
        """The value of a row's JSON text."""
        try:
            return self._adapter.validate_json(self._revealed(text))
        except ValidationError as error:
            self._refuse(error)

    def _dump_with_secrets(self, value: T) -> str:
        masked = self._adapter.dump_python(value, mode="json", warnings="error")
        return json.dumps(_reveal_into(masked, self._adapter.dump_python(value)))

    def _revealed(self, text: str) -> str:
        if not self._has_secrets:
            return text
        return json.dumps(json.loads(text, object_hook=_open_secret))

    def _refuse(self, error: ValidationError) -> NoReturn:
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


def mask_secrets(document: Any) -> Any:
    """A decoded JSON document with every stored secret replaced, to be shown to people."""
    if isinstance(document, dict):
        if set(document) == {SECRET_KEY}:
            return "**********"
        return {key: mask_secrets(value) for key, value in document.items()}
    if isinstance(document, list):
        return [mask_secrets(item) for item in document]
    return document


def _open_secret(document: dict[str, Any]) -> Any:
    return document[SECRET_KEY] if set(document) == {SECRET_KEY} else document


def _reveal_into(masked: Any, value: Any) -> Any:
    """Pydantic writes secrets as asterisks; put what they hold in their place."""
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        secret = value.get_secret_value()
        return {SECRET_KEY: secret.decode() if isinstance(secret, bytes) else secret}
    if isinstance(masked, dict) and isinstance(value, dict):
        by_key = {str(key): item for key, item in value.items()}
        return {key: _reveal_into(item, by_key.get(key)) for key, item in masked.items()}
    if isinstance(masked, list) and isinstance(value, (list, tuple, set, frozenset)):
        return [_reveal_into(m, v) for m, v in zip(masked, value, strict=True)]
    return masked


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
