"""The edge on this machine, driven from a test: one Node process with a D1 and an isolate."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.cloudflare.support.node import FLAGS, harness, node

ROOT = Path(__file__).parents[3]
CORE = ROOT / "runner" / "server_jobs"
PACKAGE = ROOT / "cloudflare" / "server_jobs_cloudflare"
MIGRATIONS = ROOT / "cloudflare" / "migrations"
EVERY_MINUTE = "* * * * *"


class EdgeError(AssertionError):
    """What was asked of the edge failed there; the message is JavaScript's, or Python's there."""


@dataclass(frozen=True)
class Spent:
    """What one or more ticks, or a piece of code, took together."""

    errors: list[str]
    most: int
    """Connections at once."""
    calls: int
    queries: int
    fetches: int
    cpu: float
    """Milliseconds."""


@dataclass(frozen=True)
class Response:
    """What the Worker's ``fetch`` answered."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Edge:
    """A D1 database and, once one is started, an isolate with a Worker."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.logs: list[str] = []

    def start(
        self,
        folders: Mapping[str, Path],
        *,
        module: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> float:
        """Start an isolate with exactly these folders, and import the Worker → CPU milliseconds.

        The database stays, and what an earlier isolate was doing is lost.
        """
        mounted = {place: str(folder.resolve()) for place, folder in folders.items()}
        cpu = self._ask("start", folders=mounted, vars=variables or {}, module=module)
        return float(cpu or 0)

    def migrate(self) -> None:
        """Make the tables, by the files that ``wrangler d1 migrations apply`` would take."""
        for file in sorted(MIGRATIONS.glob("*.sql")):
            self._ask("apply", statements=statements_of(file.read_text()))

    def sql(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Ask the database, past the Worker."""
        rows: list[dict[str, Any]] = self._ask("sql", sql=sql, values=values)
        return rows

    def ticks(self, times: int = 1, *, cron: str = EVERY_MINUTE, time: int = 0) -> Spent:
        """Fire the Cron Trigger, several times at once → what became of the ticks."""
        return Spent(**self._ask("tick", cron=cron, time=time, times=times))

    def tick(self) -> Spent:
        """Fire the Cron Trigger once; it must end well."""
        ticked = self.ticks()
        if ticked.errors:
            raise EdgeError("\n".join([*ticked.errors, *self.logs[-40:]]))
        return ticked

    def fetch(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> Response:
        """Send the Worker a request."""
        url = f"https://worker.example{path}"
        request = {"url": url, "method": method, "headers": dict(headers or {}), "body": body}
        return Response(**self._ask("fetch", request=request))

    def python(self, code: str) -> Any:
        """Run code in the isolate. What its last expression is, a JSON text, is the answer."""
        return self._ask("python", code=code)

    def measure(self, code: str) -> Spent:
        """Run code in the isolate → what it took; it must end well."""
        spent = Spent(**self._ask("measure", code=code))
        if spent.errors:
            raise EdgeError("\n".join(spent.errors))
        return spent

    def cut_off_after(self, calls: int) -> None:
        """Let the platform run out of patience once so many more calls have been answered.

        The Worker gets an exception that is no ``Exception`` at whatever instruction comes next,
        further calls reach nothing, and a tick that goes on nevertheless is ended.
        """
        self._ask("cut_off_after", calls=calls)

    def break_fetches(self, *numbers: int, when: Literal["before", "after"]) -> None:
        """Let the coming fetches of these numbers, from 1, fail: unsent, or once answered."""
        self._ask("break_fetches", numbers=numbers, when=when)

    def _ask(self, command: str, **parameters: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **parameters}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EdgeError(f"the harness ended at {command} with {self._process.wait()}")
        answer = json.loads(line)
        self.logs += answer["logs"]
        if "error" in answer:
            raise EdgeError("\n".join([answer["error"], *answer["logs"]]))
        return answer["value"]


@contextmanager
def running_edge() -> Iterator[Edge]:
    """A new, empty D1 database with a harness around it, until the block ends."""
    # Output to a file: a pipe that nobody reads would fill up and stop the harness.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(node()), *FLAGS, str(harness())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Edge(process)
        except BaseException as error:
            errors.seek(0)
            error.add_note(f"The harness's errors:\n{errors.read()[-5_000:]}")
            raise
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def statements_of(script: str) -> Sequence[str]:
    """The statements of a migration, which end at a semicolon and a line break."""
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    statements = "\n".join([*lines, ""]).split(";\n")
    return [statement.strip() for statement in statements if statement.strip()]
