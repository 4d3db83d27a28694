"""The command line, ``server-jobs``. It needs the extra: ``pip install 'server-jobs[cli]'``.

Commands lie in ``commands``, the checks of ``server-jobs doctor`` in ``doctor``, and ``app`` puts
them together. What several commands share lies here. The library imports nothing of it.
"""

from __future__ import annotations

import sys

from server_jobs import __version__
from server_jobs.cli.environment import tidy_environment
from server_jobs.cli.extra import needs_extra
from server_jobs.cli.interruption import Interruption
from server_jobs.cli.streams import standard_streams

_LIBRARIES = {"pytimeparse", "rich", "structlog", "typer"}


def main() -> None:
    """Run the command line with this process's arguments, and exit."""
    # Before anything is imported that takes time.
    with Interruption():
        tidy_environment()
        with standard_streams():
            _run()


def _run() -> None:
    match sys.argv[1:]:
        # Every pod begins with `run`, and scripts ask for the version. Neither needs Typer.
        case ["run", *arguments]:
            from server_jobs.cli.commands.run import main as run

            sys.exit(run(arguments))
        case ["--version"]:
            print(f"server-jobs {__version__}")
            return
    # Either line may find a library missing, because commands are imported when they are invoked.
    with needs_extra("server-jobs", "cli", _LIBRARIES):
        from server_jobs.cli.app import app

        app(prog_name="server-jobs")
