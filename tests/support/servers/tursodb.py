"""``tursodb --sync-server``, from npm: a server of the vendor's own, as a second opinion.

It is young, and knows two of the protocol's requests, ``execute`` and ``batch``. What closes the
stream is left out of what it is sent.
"""

import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from server_jobs.database import Database
from server_jobs.database.hrana import HranaDatabase
from server_jobs.database.httpx_transport import HttpxTransport
from server_jobs.sql.tables import tables

PATIENCE_SECONDS = 20.0


class TransportWithoutClose(HttpxTransport):
    """Sends what the server understands."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: str) -> tuple[int, str]:
        pipeline = json.loads(body)
        pipeline["requests"] = [each for each in pipeline["requests"] if each["type"] != "close"]
        return await super().post(url, headers=headers, body=json.dumps(pipeline))


class Tursodb:
    """The server, on one file."""

    def __init__(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(truncate)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [os.environ["TURSODB"], str(file), "--sync-server", f"127.0.0.1:{self._port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._listens():
            assert time.monotonic() < until, "tursodb doesn't begin to listen"
            time.sleep(0.01)

    def connect(self) -> Database:
        url = make_url(f"http://127.0.0.1:{self._port}")
        return HranaDatabase(url, transport=TransportWithoutClose(), tables=tables())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self._port)).close()
            return True
        return False
