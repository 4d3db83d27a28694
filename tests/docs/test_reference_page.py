"""Every public name has a docstring, and a place in the API reference."""

import pytest

from tests.support.pages.markdown import ROOT
from tools.site.docstrings_as_markdown import markdown
from tools.site.public_names import MODULES, public_names, undocumented

REFERENCE = ROOT / "docs" / "api"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_docstrings(module: str) -> None:
    assert list(undocumented((module,))) == []


@pytest.mark.parametrize("module", MODULES)
def test_public_module_has_names(module: str) -> None:
    assert public_names(module), f"what {module} gives to others, it has to name in __all__"


def test_every_public_module_has_its_page_and_its_line_in_the_list() -> None:
    shown = {
        line.removeprefix("::: ")
        for page in REFERENCE.glob("*.md")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("::: ")
    }
    listed = (REFERENCE / "index.md").read_text(encoding="utf-8")

    assert shown == set(MODULES)
    assert [module for module in MODULES if f"[`{module}`]" not in listed] == []


def test_a_public_name_without_docstring_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import server_jobs.worker

    def stop() -> None: ...

    monkeypatch.setattr(server_jobs.worker.LocalWorker, "stop", stop)
    monkeypatch.setattr(server_jobs.worker.WorkerTotals, "__doc__", None)

    assert list(undocumented(("server_jobs.worker",))) == [
        "server_jobs.worker.LocalWorker.stop",
        "server_jobs.worker.WorkerTotals",
    ]


def test_roles_and_double_colons_of_docstrings_become_markdown() -> None:
    docstring = "Made by :func:`later`.\n\n::\n\n    x = 1\n\nSo::\n\n    y = 2\n"

    assert markdown(docstring) == "Made by `later`.\n\n    x = 1\n\nSo:\n\n    y = 2\n"
