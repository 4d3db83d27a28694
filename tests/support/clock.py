"""A clock that only the test moves."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.sql.column_types import UtcDateTime


class Clock:
    """Give ``Store(database, now=clock.expression)`` this instead of the database's clock."""

    def __init__(self) -> None:
        self.value = datetime(2030, 1, 1, tzinfo=UTC)
        self.expression: ColumnElement[datetime] = bindparam(
            "now", callable_=lambda: self.value, type_=UtcDateTime()
        )

    def advance(self, seconds: float) -> datetime:
        """Let time pass; a negative number sets the clock back → the new moment."""
        self.value += timedelta(seconds=seconds)
        return self.value

    def after(self, seconds: float) -> datetime:
        """The moment so many seconds from now."""
        return self.value + timedelta(seconds=seconds)
