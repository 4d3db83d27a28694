"""The page on the command line is a session, and it goes as it is written."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.pages.console import ID, Step, goes_as_shown, in_a_shell, steps
from tests.support.pages.markdown import ROOT, code_blocks

PAGE = ROOT / "docs" / "cli.md"
ID_OR_BEGINNING = re.compile(r"\b0197a3c2[0-9a-f-]*")


class Session:
    """Runs the page's commands; ids are the page's own in what it says."""

    def __init__(self) -> None:
        self._settings: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    def run(self, step: Step) -> str:
        command = ID_OR_BEGINNING.sub(lambda found: self._real(found.group()), step.command)
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self._settings[name.removeprefix("SERVER_JOBS_").lower()] = value
            return ""
        if "|" in command or "&&" in command:
            variables = {f"SERVER_JOBS_{name.upper()}": it for name, it in self._settings.items()}
            said = in_a_shell(command, variables)
        else:
            assert words[0] == "server-jobs"
            said = Cli(**self._settings)(*words[1:]).output
        if words[1] == "enqueue":
            self._ids[step.shown.strip()] = said.strip()
        for documented, real in self._ids.items():
            said = said.replace(real, documented)
        return said

    def _real(self, beginning: str) -> str:
        (real,) = (real for shown, real in self._ids.items() if shown.startswith(beginning))
        return real


@pytest.mark.usefixtures("process_state")
def test_session_goes_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (app,) = code_blocks(PAGE, "python")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(app.text)
    monkeypatch.chdir(tmp_path)
    session = Session()

    for step in steps(PAGE):
        said = session.run(step)
        assert goes_as_shown(step, said), f"line {step.line}: {step.command}\n\n{said}"

    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_page_runs_every_command_that_it_has_a_section_on() -> None:
    run = {word for step in steps(PAGE) for word in step.command.split()}

    assert {"enqueue", "list", "show", "watch", "retry", "cancel"} <= run


def test_ids_of_the_page_are_such_as_would_be_made() -> None:
    shown = [step.shown.strip() for step in steps(PAGE) if " enqueue " in f" {step.command} "]

    assert shown == sorted(shown)
    assert all(ID.fullmatch(job_id) for job_id in shown)
