"""Databases that can't be used: what is said of them, and what isn't."""

from pathlib import Path

import pytest

from server_jobs import connect
from server_jobs.errors import DatabaseError, InvalidDatabaseUrlError
from server_jobs.store.store import Store


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ada,\n" * 100)
    database = connect(f"sqlite:///{path}")

    with pytest.raises(DatabaseError, match=r"letter\.txt.*not a database"):
        await Store(database).check_schema()

    await database.close()


def test_a_raw_at_sign_in_a_password_is_refused_without_showing_any_of_it() -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="%40") as caught:
        connect("postgresql://app:hunter@2secret@127.0.0.1:1/x")

    assert "hunter" not in str(caught.value)
    assert "secret" not in str(caught.value)
