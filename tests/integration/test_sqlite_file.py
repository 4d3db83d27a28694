"""What others do to a SQLite file while it is in use: replace it, delete it, hold its lock.

And what is said where it can't be opened, read or written.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server_jobs import connect, define_job
from server_jobs.database import Database
from server_jobs.errors import DatabaseError, DatabaseUnavailableError, ServerJobsError
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.support.cli_app import charge
from tests.support.processes.worker import ROOT, worker_process
from tests.support.scene import new_job
from tests.support.workers import Number, make_worker, registry_of, until

CLI_APP = "tests.support.cli_app:registry"


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


# ── the files beside it ──────────────────────────────────────────────────────────────────────

each_deletion = pytest.mark.parametrize(
    "deleted", [("-wal",), ("-shm",), ("-wal", "-shm")], ids=["log", "index", "both"]
)


@each_deletion
async def test_nothing_is_lost_with_a_log_that_is_deleted(
    database: Database, path: Path, deleted: tuple[str, ...]
) -> None:
    store = Store(database)
    for _ in range(3):
        await store.enqueue([new_job()])
        await database.wait_for_change(0.1)  # by a connection of its own

        for suffix in deleted:
            path.with_name(path.name + suffix).unlink()
        await store.enqueue([new_job()])

    assert jobs_in(path) == len(await store.list_ids()) == 6


async def test_log_that_another_program_began_anew_is_said(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(database)
    await store.enqueue([new_job()])
    delete_log(path)
    # In this process SQLite would use the index that was deleted.
    program = (
        "import sqlite3, sys; other = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " other.execute(\"INSERT INTO jobs (id, job_name) VALUES ('other', 'Note')\")"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)

    job = new_job()
    await store.enqueue([job])

    assert job.id in await store.list_ids()
    assert "another program has begun a log of its own" in caplog.text


@each_deletion
async def test_workers_go_on_after_the_log_is_deleted(
    path: Path, tmp_path: Path, deleted: tuple[str, ...]
) -> None:
    url = f"sqlite:///{path}"
    with worker_process(tmp_path, url, app=CLI_APP), worker_process(tmp_path, url, app=CLI_APP):
        database = connect(url)
        charge.set_database(database)
        for number in range(3):
            job_id = await charge.later({"number": number})
            assert (await charge.wait(job_id, timeout=20)).data is not None
            await asyncio.sleep(0.5)  # nobody writes: what is written at the very moment is lost
            for suffix in deleted:
                path.with_name(path.name + suffix).unlink()
            await asyncio.sleep(2.5)  # each notices within its next round
        await database.close()
    assert jobs_in(path) == 3


# ── who may do what ──────────────────────────────────────────────────────────────────────────


def as_nobody(url: str) -> str:
    """Enqueue as a user without rights → how that ended."""
    program = (
        "import asyncio, sys; from server_jobs import connect; from server_jobs.store.store import"
        " Store; from tests.support.scene import new_job\n"
        "try: asyncio.run(Store(connect(sys.argv[1])).enqueue([new_job()]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "else: print('enqueued')"
    )
    # What it imports may lie in a folder that nobody else may read.
    drop = "import os; os.setgid(65534); os.setuid(65534)\n"
    imports = "import server_jobs.database.sqlite, server_jobs.store.store, tests.support.scene\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}{drop}{program}", url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root is others, too")
@pytest.mark.may_skip_in_ci(reason="whether the tests run as root is up to the machine")
@pytest.mark.parametrize(
    ("of_file", "of_folder", "complaint"),
    [
        (0o666, 0o777, "enqueued"),
        (0o444, 0o777, "readonly database; this user may not write to {path}"),
        (0o666, 0o555, "readonly database; is {folder} a folder that this user may write to"),
        (0o444, 0o555, "readonly database; this user may not write to {path}"),
        (0o600, 0o777, "unable to open database file; this user may not write to {path}"),
        (0o666, 0o700, "unable to open database file; is {folder} a folder that this user may"),
    ],
    ids=["allowed", "read-only-file", "read-only-folder", "both", "another-users", "hidden"],
)
def test_what_a_user_may_not_do_is_named(of_file: int, of_folder: int, complaint: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        above, folder = Path(name), Path(name) / "data"
        folder.mkdir()
        path = folder / "jobs.db"
        migrate(f"sqlite:///{path}")
        above.chmod(0o755)
        path.chmod(of_file)
        folder.chmod(of_folder)

        told = as_nobody(f"sqlite:///{path}")

    assert complaint.format(path=path, folder=folder) in told


async def test_worker_waits_for_a_right_that_it_loses_for_a_while(
    path: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{path}"
    database = connect(url)
    charge.set_database(database)
    with worker_process(tmp_path, url, app=CLI_APP) as worker:
        first = await charge.later({"number": 1})
        await charge.wait(first, timeout=20)
        await database.close()
        away = path.with_name("away")
        away.mkdir()
        for file in path.parent.glob("jobs.db*"):
            file.rename(away / file.name)

        async def is_told() -> bool:
            return "the file is gone" in worker.log

        await until(is_told, "the worker says what is missing")
        for file in away.iterdir():
            file.rename(path.parent / file.name)
        second = await charge.later({"number": 2})

        assert (await charge.wait(second, timeout=20)).data is not None
    await database.close()


# ── what stands at the path ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no database " * 100, "file is not a database; name the file of a SQLite database"),
        (None, "unable to open database file; it is a folder, not a file"),
        (b"", "no such table.*server-jobs migrate"),
    ],
    ids=["text", "folder", "empty"],
)
async def test_what_is_no_database_is_said(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "other.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    database = connect(f"sqlite:///{path}")

    for _ in range(2):
        with pytest.raises(ServerJobsError, match=rf"{path}.*{complaint}"):
            await Store(database).enqueue([new_job()])
    await database.close()


async def test_damaged_file_is_used_again_once_it_is_restored_in_place(
    database: Database, path: Path
) -> None:
    store = Store(database)
    await store.enqueue([new_job()])
    await database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DatabaseError, match=r"malformed; the file is damaged.*restore a backup"):
        await store.enqueue([new_job()])
    path.write_bytes(whole)

    await store.enqueue([new_job()])
    assert len(await store.list_ids()) == 2


# ── what other programs do with it meanwhile ─────────────────────────────────────────────────


async def test_file_may_be_copied_vacuumed_and_set_to_another_journal(
    database: Database, path: Path
) -> None:
    store = Store(database)
    for _ in range(3):
        await store.enqueue([new_job()])
        shutil.copy(path, path.with_name("copy.db"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("VACUUM")
        with pytest.raises(sqlite3.OperationalError, match="locked"):  # SQLite's own answer
            other.execute("PRAGMA journal_mode = delete")
        other.close()
        await store.enqueue([new_job()])
        await database.close()
        other = sqlite3.connect(path, isolation_level=None)
        assert other.execute("PRAGMA journal_mode = delete").fetchone() == ("delete",)
        other.close()

    assert len(await store.list_ids()) == 6


async def test_worker_outlasts_a_lock_that_is_held_for_longer_than_it_waits(
    path: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{path}?busy_timeout=0.3"
    database = connect(f"sqlite:///{path}")
    charge.set_database(database)
    with worker_process(tmp_path, url, app=CLI_APP) as worker:
        job_id = await charge.later({"number": 1})
        await charge.wait(job_id, timeout=20)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO jobs (id, job_name, queue) VALUES ('n', 'Nobody', 'other')")
        waiting = asyncio.create_task(charge.later({"number": 2}))
        await asyncio.sleep(2)
        other.execute("COMMIT")
        other.close()

        assert (await charge.wait(await waiting, timeout=20)).data is not None
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    await database.close()
