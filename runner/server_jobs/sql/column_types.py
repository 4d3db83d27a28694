"""Defines column types that hold the same values on every dialect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import TIMESTAMP, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f"
"""The text of a timestamp in databases without a type for it. It is in UTC, and sorts by time."""


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
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return cast("datetime", value).astimezone(UTC)


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
