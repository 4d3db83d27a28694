"""Defines column types that hold the same values on every dialect."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import TIMESTAMP, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f"
"""The text of a timestamp in databases without a type for it. It is in UTC, and sorts by time."""

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
"""What a column is read as whose moment is earlier than Python's first year."""

LATEST = datetime(9999, 12, 31, tzinfo=UTC)
"""What a column is read as whose moment is later than Python's last year."""

_LONG_YEAR = re.compile(r"\d{5,}-")


class UtcDateTime(TypeDecorator[datetime]):
    """Stores an aware datetime, in UTC: ``timestamptz`` on PostgreSQL, sortable text elsewhere."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(
                f"a naive datetime isn't a moment in time: {value!r}; give it a tzinfo"
            )
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.strftime(TIMESTAMP_FORMAT)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return _beyond(value) or datetime.fromisoformat(value).replace(tzinfo=UTC)
        return cast("datetime", value).astimezone(UTC)


def _beyond(text: str) -> datetime | None:
    """Return the moment that stands for one of PostgreSQL's that Python has no datetime for."""
    if text == "-infinity" or text.endswith(" BC"):
        return EARLIEST
    if text == "infinity" or _LONG_YEAR.match(text):
        return LATEST
    return None


class _Jsonb(UserDefinedType[str]):
    """PostgreSQL's jsonb, given as serialised text, which SQLAlchemy's type would encode again."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSONB"


class JsonText(TypeDecorator[str]):
    """Stores a JSON document, given as serialised text: ``jsonb`` on PostgreSQL, text elsewhere.

    SQL NULL means that there is no document. The document ``null`` is the text ``null``.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(_Jsonb())
        return dialect.type_descriptor(Text())
