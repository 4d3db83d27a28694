"""The command line, ``server-jobs``. It needs the extra: ``pip install 'server-jobs[cli]'``.

Commands lie in ``commands``, the checks of ``server-jobs doctor`` in ``doctor``, and ``app`` puts
them together. What several commands share lies here. The library imports nothing of it.
"""

from __future__ import annotations

import sys

_NEEDED = {"rich", "structlog", "typer"}


def main() -> None:
    """Run the command line with this process's arguments, and exit."""
    if sys.argv[1:2] == ["run"]:  # what every pod begins with: without what the others need
        from server_jobs.cli.commands.run import main as run

        sys.exit(run(sys.argv[2:]))
    try:
        from server_jobs.cli.app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        print(
            f"server-jobs: the command line needs {missing}, which isn't installed:"
            " pip install 'server-jobs[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    app(prog_name="server-jobs")
