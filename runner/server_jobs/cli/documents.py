"""Records as JSON: times in ISO 8601, documents decoded, secrets masked."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from server_jobs.definition.codec import mask_secrets
from server_jobs.records.rows import JobRecord
from server_jobs.sql.statement import RawText


def masked_document(text: str) -> Any:
    """Return a row's JSON text decoded, with its secrets masked."""
    try:
        return mask_secrets(json.loads(text))
    except ValueError:
        # Secrets in a text that can't be decoded can't be masked either.
        return f"(not valid JSON: {len(text)} characters)"


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
    """Return a time as ISO 8601, text that isn't UTF-8 with escapes, any other value as it is."""
    if isinstance(value, RawText):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
