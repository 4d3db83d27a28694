"""The README: its promises, its first job, and how long it may get."""

import shlex
from pathlib import Path

from tests.support.pages.console import ID, goes_as_shown, in_a_shell, steps
from tests.support.pages.markdown import ROOT, code_blocks, links

README = ROOT / "README.md"
CONTRACT = (
    "enqueue is atomic with your transaction; execution is at-least-once; completion is recorded"
    " exactly once, guarded by a fencing token; handlers must be idempotent."
)


def test_readme_has_the_contract_and_both_commands() -> None:
    readme = README.read_text(encoding="utf-8")

    assert CONTRACT in readme
    assert readme.index("make demo") < readme.index("make test") < readme.index(CONTRACT)


def test_readme_can_be_read_in_a_few_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 160


def test_first_job_goes_as_it_is_written(tmp_path: Path) -> None:
    (app,) = code_blocks(README, "python")
    (tmp_path / "jobs.py").write_text(app.text, encoding="utf-8")
    # What somebody who follows it sees is a terminal, where the log is for people.
    settings, prelude = {"SERVER_JOBS_LOG_FORMAT": "console"}, f"cd {shlex.quote(str(tmp_path))}"
    real_ids: dict[str, str] = {}

    for step in steps(README):
        command = step.command
        for shown, real in real_ids.items():
            command = command.replace(shown, real)
        said = in_a_shell(f"{prelude} && {command}", settings)
        if command.startswith("export "):
            prelude = f"{prelude} && {command}"
        if ID.fullmatch(step.shown.strip()):
            assert ID.fullmatch(said.strip()), said
            real_ids[step.shown.strip()] = said.strip()
        for shown, real in real_ids.items():
            said = said.replace(real, shown)
        assert goes_as_shown(step, said), f"line {step.line}: {step.command}\n\n{said}"

    assert real_ids


def test_picture_loads_nothing_from_elsewhere() -> None:
    (name,) = (link for link in links(README) if link.endswith(".svg"))
    picture = (ROOT / name).read_text(encoding="utf-8")

    assert "://" not in picture.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not [word for word in ("<script", "<image", "@import", "@font-face") if word in picture]
