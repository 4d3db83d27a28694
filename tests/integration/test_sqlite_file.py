"""What others do to a SQLite file while it is in use: replace it, delete it, hold its lock."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server_jobs import connect, define_job
from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.support.scene import new_job
from tests.support.workers import Number, make_worker, registry_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = connect(f"sqlite:///{path}?busy_timeout=1")
    yield database
    await database.close()


def replacement(path: Path) -> Path:
    """Another file with empty tables, beside it."""
    other = path.with_name("restored.db")
    migrate(f"sqlite:///{other}")
    with sqlite3.connect(other) as connection:
        connection.execute("PRAGMA journal_mode = delete")
    connection.close()
    return other


def delete_log(path: Path) -> None:
    """As whoever restores a backup does, so that the old log isn't taken for the new file's."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


def jobs_in(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])
    finally:
        connection.close()


async def test_job_is_enqueued_in_the_file_that_took_the_place(
    database: Database, path: Path
) -> None:
    store = Store(database)
    await store.enqueue([new_job()])
    replacement(path).replace(path)

    with pytest.raises(DatabaseUnavailableError, match=r"replaced.*delete jobs\.db-wal and jobs"):
        await store.enqueue([new_job()])
    delete_log(path)
    await store.enqueue([new_job(), new_job()])

    assert len(await store.list_ids()) == 2
    await database.close()
    assert jobs_in(path) == 2


ENQUEUES_BEFORE_AND_AFTER = """
from gevent import monkey

monkey.patch_all()
import os, sys
from server_jobs import connect, define_job, run_sync


@define_job(name="Note")
def note(params: int) -> None: ...


path, other = sys.argv[1:]
note.set_database(connect(f"sqlite:///{path}"))
run_sync(note.later(1))
os.unlink(f"{path}-wal")
os.unlink(f"{path}-shm")
os.replace(other, path)
run_sync(note.later(2))
run_sync(note.later(3))
"""


def test_program_without_threads_enqueues_in_the_file_that_took_the_place(path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", ENQUEUES_BEFORE_AND_AFTER, str(path), str(replacement(path))],
        check=True,
        timeout=60,
    )

    assert jobs_in(path) == 2


async def test_worker_goes_on_with_the_file_that_took_the_place(
    database: Database, path: Path
) -> None:
    done = asyncio.Event()

    @define_job(name="Note")
    async def note(params: Number) -> None:
        done.set()

    worker = make_worker(database, registry_of(database, note), poll_interval=30)
    working = asyncio.create_task(worker.run_until_stopped())
    await asyncio.sleep(0.5)
    delete_log(path)
    replacement(path).replace(path)
    other = connect(f"sqlite:///{path}")
    note.set_database(other)

    await note.later(Number())

    async with asyncio.timeout(10):
        await done.wait()
    worker.stop()
    await working
    await other.close()


async def test_file_that_is_gone_is_an_error_that_names_it_and_makes_no_empty_one(
    database: Database, path: Path
) -> None:
    store = Store(database)
    await store.enqueue([new_job()])
    away = path.with_name("away.db")
    await database.close()
    path.rename(away)

    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError, match=rf"{path}.*gone.*put it back"):
            await store.enqueue([new_job()])
    assert not path.exists()

    shutil.move(away, path)
    await store.enqueue([new_job()])
    assert len(await store.list_ids()) == 2


async def test_deleted_file_is_noticed_while_it_is_open(database: Database, path: Path) -> None:
    store = Store(database)
    await store.enqueue([new_job()])
    path.unlink()

    with pytest.raises(DatabaseUnavailableError, match="gone"):
        await store.enqueue([new_job()])
    await database.wait_for_change(0.1)
    assert not path.exists()


async def test_lock_that_another_program_holds_is_waited_for_once(
    database: Database, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store = Store(database)
    for call in (
        lambda: store.enqueue([new_job()]),
        lambda: store.cancel_many(["a"]),
        lambda: store.enqueue([new_job(unique_key="k")]),
    ):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match=r"locked.*busy_timeout"):
            await call()
        assert 0.9 <= time.monotonic() - began < 1.7

    other.execute("ROLLBACK")
    await store.enqueue([new_job()])
    other.close()


async def test_exclusive_lock_is_waited_for_once_by_a_new_connection(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = exclusive")
    other.execute("BEGIN EXCLUSIVE")
    database = connect(f"sqlite:///{path}?busy_timeout=1")

    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match=r"locked.*busy_timeout"):
        await Store(database).enqueue([new_job()])
    assert 0.9 <= time.monotonic() - began < 1.7

    other.close()
    await Store(database).enqueue([new_job()])
    await database.close()
