"""The command as a person runs it: in a process and on a terminal of its own."""

import os
import pty
import sysconfig
from pathlib import Path

from tests.support.cli import Cli

SERVER_JOBS = Path(sysconfig.get_path("scripts")) / "server-jobs"


def environment(cli: Cli, **more: str) -> dict[str, str]:
    settings = {f"SERVER_JOBS_{name.upper()}": value for name, value in cli.settings.items()}
    plain = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    fast = {"SERVER_JOBS_WATCH_INTERVAL": "0.1"}
    return {**plain, **settings, **fast, **more}


def on_terminal(cli: Cli, *arguments: str, typed: str = "", **env: str) -> tuple[int, str]:
    """Run with a terminal on all three streams → exit status, and what the terminal showed."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - becomes another program
        more = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30", **env}
        os.execve(SERVER_JOBS, [str(SERVER_JOBS), *arguments], environment(cli, **more))
    os.write(terminal, typed.encode())
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65_536)
        except OSError:  # Linux's word for the end of a terminal
            break
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()
