"""Programs of all kinds enqueue, or are told what to do instead."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_jobs.store.store import Store
from tests.support.processes import programs
from tests.support.processes.worker import ROOT
from tests.support.workers import PATIENCE_SECONDS

SCRIPTS = Path(sysconfig.get_path("scripts"))

REPLACED = "gevent or eventlet has replaced this process's threads"
NO_LOOP = "no asyncio event loop runs here: call it as run_sync"
AWAIT_IT = "run_sync() was called on a thread that runs an event loop: await the call instead"


@pytest.mark.parametrize(
    ("program", "enqueued", "error"),
    [
        ("gevent", 60, REPLACED),
        ("eventlet", 60, REPLACED),
        ("trio", 1, NO_LOOP),
        ("uvloop", 1, None),
        ("a notebook", 1, AWAIT_IT),
        ("a thread that outlives the main one", 2, None),
        ("atexit", 1, None),
        ("a daemon thread", 1, None),
    ],
)
async def test_a_program_enqueues_or_is_told_what_to_do(
    migrated_url: str, store: Store, program: str, enqueued: int, error: str | None
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", programs.__name__, program, migrated_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["enqueued"] == enqueued
    assert [text for text in told["errors"] if not text.startswith(str(error))] == []
    assert bool(told["errors"]) is (error is not None)
    assert sum(count.count for count in await store.counts()) >= enqueued


UWSGI = ["--http-socket", "127.0.0.1:{port}", "--master", "--processes", "2", "--die-on-term"]
WSGI = f"{programs.__name__}:application"


@contextlib.contextmanager
def served(folder: Path, url: str, command: list[str]) -> Iterator[str]:
    """A web server with two processes of the WSGI app → its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program, *options = [part.format(port=port) for part in command]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [SCRIPTS / program, *options],
            cwd=ROOT,
            env=os.environ | {programs.URL_SETTING: url, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> set[tuple[int, str]]:
    """Ask until both processes have answered → statuses and texts."""
    seen: dict[str, tuple[int, str]] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(seen) < 2 and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        process_id, _, body = text.partition(" ")
        seen[process_id] = (status, body)
    return {(status, text if status != 200 else "") for status, text in seen.values()}


@pytest.mark.parametrize(
    ("command", "sqlite_too"),
    [
        (["gunicorn", "--preload", "--bind", "127.0.0.1:{port}", "--workers", "2", WSGI], True),
        (["uwsgi", *UWSGI, "--lazy-apps", "--module", WSGI], True),
        (["uwsgi", *UWSGI, "--module", WSGI], False),
        (["uwsgi", *UWSGI, "--enable-threads", "--module", WSGI], False),
        (["uwsgi", *UWSGI, "--py-call-osafterfork", "--module", WSGI], False),
    ],
    ids=["gunicorn --preload", "uwsgi --lazy-apps", "uwsgi", "uwsgi with threads", "uwsgi, told"],
)
async def test_a_server_that_forks_after_an_import_that_enqueued(
    migrated_url: str, store: Store, tmp_path: Path, command: list[str], *, sqlite_too: bool
) -> None:
    with served(tmp_path, migrated_url, command) as address:
        told = answers(address)

    if sqlite_too or not migrated_url.startswith("sqlite"):
        assert told == {(200, "")}
        assert sum(count.count for count in await store.counts()) >= 3
    else:
        (only,) = told
        assert only[0] == 503
        assert "set `lazy-apps = true` in uWSGI" in only[1]
