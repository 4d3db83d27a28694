"""Clients that aren't ours on the tests' Hrana server: what proves ours must be Hrana."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudflare.support.node import harness, node
from tests.support.servers.hrana import TOKEN, HranaServer

PYTHON_CLIENT = """
import sys
import libsql

url, token = sys.argv[1:]
connection = libsql.connect(database=url, auth_token=token)
connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, value)")
connection.execute("INSERT INTO kept VALUES (?, ?)", (1, 2**40))
connection.executemany("INSERT INTO kept VALUES (?, ?)", [(2, bytes([0, 255])), (3, 1.5)])
connection.commit()
connection.execute("INSERT INTO kept VALUES (4, 'four')")
connection.rollback()
refused = None
try:
    connection.execute("INSERT INTO kept VALUES (1, 'again')")
except ValueError as error:
    refused = str(error)
connection.rollback()
rows = connection.execute("SELECT id, value FROM kept ORDER BY id").fetchall()
print({"refused": refused, "rows": rows})
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with HranaServer() as server:
        yield server.serve(tmp_path / "served.db")


def test_javascript_client_of_the_vendor(url: str) -> None:
    script = harness().parent / "libsql_client.mjs"
    ran = subprocess.run(
        [str(node()), str(script), f"{url}/", TOKEN], capture_output=True, text=True, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["refused"] == "SQLITE_CONSTRAINT_PRIMARYKEY"
    assert told["rows"] == [
        ["1", str(2**53 + 1), "integer"],
        ["2", [0, 255], "blob"],
        ["3", 1.5, "real"],
        ["4", None, "null"],
        ["5", "five; with \0 and é", "text"],
    ]


def test_python_client_of_the_vendor(url: str) -> None:
    pytest.importorskip("libsql", reason="libsql has no wheels for this Python")
    # In a process of its own: it keeps the GIL while it waits, and the server's threads need it.
    ran = subprocess.run(
        [sys.executable, "-c", PYTHON_CLIENT, url, TOKEN],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr
    told = ast.literal_eval(ran.stdout)
    assert "UNIQUE constraint failed" in told["refused"]
    assert told["rows"] == [(1, 2**40), (2, b"\0\xff"), (3, 1.5)]
