"""A page's terminal sessions: the commands of its `console` blocks, and what they print."""

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.pages.markdown import code_blocks

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\b\d\d:\d\d:\d\d\b")
LEFT_OUT = re.compile(r"\n?…")


@dataclass
class Step:
    """A command, and what is printed below it."""

    line: int
    command: str
    shown: str


def steps(page: Path) -> Iterator[Step]:
    for block in code_blocks(page, "console"):
        step: Step | None = None
        for number, text in enumerate(block.text.splitlines()):
            if text.startswith("$ "):
                if step is not None:
                    yield step
                step = Step(block.line + number, text[2:], "")
            else:
                assert step is not None, f"line {block.line + number} is below no command"
                step.shown += f"{text}\n"
        assert step is not None
        yield step


def goes_as_shown(step: Step, said: str) -> bool:
    """Return whether the command printed what the page shows, up to moments and `…`."""
    shown = MOMENT.sub("<moment>", step.shown.strip())
    pattern = ".*".join(map(re.escape, LEFT_OUT.split(shown)))
    return re.fullmatch(pattern, MOMENT.sub("<moment>", said.strip()), re.DOTALL) is not None


def in_a_shell(command: str, settings: dict[str, str]) -> str:
    """Run the command with this environment's scripts on the path → what it prints."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **settings, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    ).stdout
