"""Records as JSON: times in ISO 8601, documents decoded, secrets masked."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from server_jobs.definition.codec import mask_secrets
from server_jobs.records.rows import JobRecord
from server_jobs.sql.statement import RawText

_DEEPEST = 200
_LONGEST_NUMBER = 4_300
"""Python reads no longer integers from text, because the time grows with the square of the length.

In JSON they are valid.
"""


def masked_document(text: str) -> Any:
    """Return a row's JSON text decoded, with its secrets masked.

    What Python can't read is described in words, the whole document or the one number.
    """
    try:
        document = json.loads(text, parse_int=_integer, parse_constant=str)
        if _is_deeper(document, _DEEPEST):
            raise RecursionError
        return json_value(mask_secrets(document))
    except ValueError:
        # Secrets in a text that can't be decoded can't be masked either.
        return f"(not valid JSON: {len(text):,} characters)"
    except RecursionError:
        return f"(nested more than {_DEEPEST} levels deep: {len(text):,} characters)"


def _integer(digits: str) -> int | str:
    if len(digits) <= _LONGEST_NUMBER:
        return int(digits)
    return f"(an integer of {len(digits.lstrip('-')):,} digits)"


def _is_deeper(document: Any, levels: int) -> bool:
    inside = [document]
    for _ in range(levels):
        inside = [
            item
            for one in inside
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not inside:
            return False
    return True


_JSON_COLUMNS = ("params", "result", "errors", "retry_policy", "runtime")


def record_document(record: JobRecord) -> dict[str, Any]:
    """Return a whole record as JSON: times in ISO 8601, documents decoded, secrets masked."""
    document = asdict(record)
    if not record.misfits:
        del document["misfits"]
    for column in _JSON_COLUMNS:
        if document[column] is not None:
            document[column] = masked_document(document[column])
    return {column: json_value(value) for column, value in document.items()}


def json_value(value: Any) -> Any:
    """Return a value as JSON has it, and the items of lists and objects, too.

    Times are in ISO 8601, text that isn't UTF-8 has escapes, floats that aren't finite are texts.
    """
    if isinstance(value, RawText):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    return value
