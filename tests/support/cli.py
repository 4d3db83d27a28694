"""Running the command line inside the test's process."""

import faulthandler
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from server_jobs.cli.app import app

CLI_APP = "tests.support.cli_app"


class Cli:
    """``server-jobs`` on one database and app, as the environment would name them."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings

    def __call__(self, *args: str, stdin: str = "") -> Result:
        """Run a command. An error that isn't reported to the user is raised here."""
        env = {f"SERVER_JOBS_{name.upper()}": value for name, value in self.settings.items()}
        return CliRunner().invoke(
            app, args, input=stdin, env=env, catch_exceptions=False, prog_name="server-jobs"
        )

    def ok(self, *args: str, stdin: str = "") -> str:
        """Run a command that must succeed → its output, without the last line break."""
        result = self(*args, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout.rstrip("\n")

    def json(self, *args: str) -> Any:
        """Run a command that must succeed and print JSON and nothing else → what it says."""
        return json.loads(self.ok(*args, "--json"))


@pytest.fixture
def process_state() -> Iterator[None]:
    """A command may change what belongs to its process: put it back."""
    root, path = logging.getLogger(), list(sys.path)
    handlers, level = list(root.handlers), root.level
    yield
    # A worker's last deadline, after which the process would be ended.
    faulthandler.cancel_dump_traceback_later()
    root.handlers[:], sys.path[:] = handlers, path
    root.setLevel(level)
    # An app is imported anew by each test: a command may set its jobs' database.
    for name in [name for name in sys.modules if name.startswith(("users_", CLI_APP))]:
        del sys.modules[name]
