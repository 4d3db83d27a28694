"""A Hrana server for tests: libSQL's protocol (versions 2 and 3, JSON) over plain SQLite files.

It isn't libSQL. Independent clients are run against it (tests/cloudflare/test_hrana_clients.py), so
that it can't merely agree with our own driver.
Runnable: ``python -m tests.support.servers.hrana FILE --port 8080``.
"""

import argparse
import json
import secrets
import sqlite3
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.servers.hrana_stream import Json, Stream

TOKEN = "a-token-of-the-tests"


class Cut(Enum):
    """Where the server breaks a connection."""

    BEFORE = "before the request was run"
    AFTER = "after the request was run, before its answer"
    WITHIN = "in the middle of the answer"


Answer = tuple[int, str]
"""A status and a text that are sent instead of what was asked for; nothing runs."""


class HranaServer:
    """Serves SQLite files, each under a path of its own. A context manager.

    ``faults`` are taken by the next requests, one each; a float holds the answer back for that
    many seconds.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        busy_seconds: float = 5.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.token = token
        self.requests = 0
        self.faults: deque[Cut | Answer | float] = deque()
        self.streams: dict[str, tuple[Path, Stream]] = {}
        self._busy_seconds = busy_seconds
        self._files: dict[str, Path] = {}
        self._idle: dict[Path, list[sqlite3.Connection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._host = host
        self._http = _Http((host, port), self)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def serve(self, file: Path) -> str:
        """The URL, without its token, under which a file is from now on."""
        name = secrets.token_hex(4)
        self._files[name] = file
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
        return f"http://{self._host}:{self.port}/{name}"

    def file_at(self, name: str) -> Path | None:
        return self._files.get(name)

    @contextmanager
    def write_lock_held(self, file: Path) -> Iterator[None]:
        """Somebody else writes, and doesn't come to an end."""
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.rollback()
            connection.close()

    def opened(self, file: Path) -> Stream:
        with self._lock:
            idle = self._idle[file]
            if idle:
                return Stream(idle.pop())
        connection = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, timeout=self._busy_seconds
        )
        connection.execute("PRAGMA synchronous = off")  # a test survives no power cut
        return Stream(connection)

    def ended(self, file: Path, stream: Stream) -> None:
        stream.connection.rollback()
        with self._lock:
            self._idle[file].append(stream.connection)

    def __enter__(self) -> "HranaServer":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        for file, stream in self.streams.values():
            self.ended(file, stream)
        for connections in self._idle.values():
            for connection in connections:
                connection.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hrana: HranaServer) -> None:
        super().__init__(address, _Handler)
        self.hrana = hrana


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Http

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        known = self.path.rsplit("/", 1)[-1] in {"v2", "v3", "health"}
        self._send(200 if known else 404, "")

    def do_POST(self) -> None:
        hrana = self.server.hrana
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        hrana.requests += 1
        fault = hrana.faults.popleft() if hrana.faults else None
        if isinstance(fault, tuple):
            return self._send(*fault)
        if fault is Cut.BEFORE:
            return self._hang_up()
        if self.headers.get("authorization") != f"Bearer {hrana.token}":
            return self._send(401, '{"error":"Unauthorized: the token is invalid"}')
        name, _, path = self.path.lstrip("/").partition("/")
        file = hrana.file_at(name)
        if file is None or path not in {"v2/pipeline", "v3/pipeline", "v3/cursor"}:
            return self._send(404, '{"error":"no such database"}')
        text = self._run(file, path, json.loads(body))
        if isinstance(fault, float):
            time.sleep(fault)
        if fault is Cut.AFTER:
            return self._hang_up()
        return self._send(200, text, cut=fault is Cut.WITHIN)

    def _run(self, file: Path, path: str, request: Json) -> str:
        hrana = self.server.hrana
        baton = request.get("baton")
        if baton is None:
            stream = hrana.opened(file)
        elif baton in hrana.streams:
            _, stream = hrana.streams.pop(baton)
        else:
            expired = {"message": "The stream has expired", "code": "STREAM_EXPIRED"}
            return json.dumps({"baton": None, "results": [{"type": "error", "error": expired}]})
        baton = secrets.token_hex(8)
        if path == "v3/cursor":
            hrana.streams[baton] = file, stream
            return _cursor(baton, stream.batch(request["batch"]))
        results = [stream.answer(each) for each in request["requests"]]
        if any(each["type"] == "close" for each in request["requests"]):
            hrana.ended(file, stream)
            baton = None
        else:
            hrana.streams[baton] = file, stream
        return json.dumps({"baton": baton, "base_url": None, "results": results})

    def _send(self, status: int, text: str, *, cut: bool = False) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True


def _cursor(baton: str, answer: Json) -> str:
    lines: list[Json] = [{"baton": baton, "base_url": None}]
    for step, result in enumerate(answer["step_results"]):
        error = answer["step_errors"][step]
        if error is not None:
            lines.append({"type": "step_error", "step": step, "error": error})
        if result is None:
            continue
        lines.append({"type": "step_begin", "step": step, "cols": result["cols"]})
        lines += [{"type": "row", "row": row} for row in result["rows"]]
        told = {name: result[name] for name in ("affected_row_count", "last_insert_rowid")}
        lines.append({"type": "step_end"} | told)
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--token", default=TOKEN)
    options = parser.parse_args()
    with HranaServer(host=options.host, port=options.port, token=options.token) as server:
        print(f"{server.serve(options.file)}?authToken={options.token}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    _main()
