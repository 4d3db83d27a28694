"""A real pgbouncer in front of a database, in each of its pool modes."""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.cluster.processes import ClusterFailed
from tests.cluster.programs import install

START_TIMEOUT_SECONDS = 20.0
PORT = 6432

# Fewer sessions than the tests have clients, so that in transaction mode they take turns.
SETTINGS = """
[databases]
* = host={host} port={port} user={user}{password}
[pgbouncer]
listen_addr =
listen_port = {listen_port}
unix_socket_dir = {home}
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
logfile = {home}/log
"""


@contextlib.contextmanager
def pgbouncer(url: str, mode: str, *, sessions: int) -> Iterator[str]:
    """Start it with ``sessions`` sessions on the database at ``url`` → its own URL."""
    program = _program()
    server = conninfo_to_dict(url)
    home = Path(tempfile.mkdtemp(prefix="sj-pgb-")).resolve()
    try:
        (home / "ini").write_text(
            SETTINGS.format(
                host=server["host"],
                port=server.get("port", 5432),
                user=server["user"],
                password=f" password={server['password']}" if server.get("password") else "",
                listen_port=PORT,
                home=home,
                mode=mode,
                sessions=sessions,
            )
        )
        # It refuses to run as root.
        account = pwd.getpwnam("nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())[0])
        for path in (home, home / "ini"):
            os.chown(path, account.pw_uid, account.pw_gid)
        process = subprocess.Popen(
            [program, home / "ini"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.pw_uid if os.geteuid() == 0 else None,
            group=account.pw_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
        )
        try:
            pooled = (
                f"postgresql://{server['user']}@/{server['dbname']}"
                f"?host={quote(str(home), safe='/')}&port={PORT}"
            )
            _wait(pooled, process, home / "log")
            yield pooled
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _program() -> str:
    path = f"{os.environ['PATH']}:/usr/sbin"
    if not shutil.which("pgbouncer", path=path):
        with (Path(tempfile.gettempdir()) / "server-jobs-apt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes would disturb each other
            try:
                install({"pgbouncer": "/usr/sbin/pgbouncer"})
            except ClusterFailed as failure:
                pytest.skip(f"pgbouncer is missing, and can't be installed: {failure}")
    program = shutil.which("pgbouncer", path=path)
    assert program is not None
    return program


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace") if log.exists() else ""
                raise RuntimeError(f"pgbouncer did not start: {error}\n{said[:2_000]}") from None
            time.sleep(0.02)
        else:
            return
