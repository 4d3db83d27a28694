"""What holds for every page: its links lead somewhere, and its code runs."""

import ast
import asyncio
import inspect
from pathlib import Path
from types import CodeType
from typing import Any
from urllib.parse import unquote

import pytest

from server_jobs import Job
from server_jobs.migrate import migrate
from tests.support.pages.markdown import PAGES, ROOT, CodeBlock, anchors, code_blocks, links

RUNNABLE_PAGES = [
    page
    for page in PAGES
    if any("runnable" in block.marks for block in code_blocks(page, "python"))
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_something_that_is_there(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_on_a_page_is_run_or_is_a_file_of_the_repository(page: Path) -> None:
    for block in code_blocks(page, "python"):
        shown = any(mark.startswith("file=") for mark in block.marks)
        assert shown or "runnable" in block.marks, f"line {block.line} is neither"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_file_that_a_page_shows_is_shown_as_it_is(page: Path) -> None:
    for block in code_blocks(page):
        for mark in block.marks:
            if mark.startswith("file="):
                file = mark.removeprefix("file=")
                assert block.text == (ROOT / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize("page", RUNNABLE_PAGES, ids=name_of)
def test_blocks_of_a_page_run_in_order_as_one_program(
    page: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(sqlite_url)
    monkeypatch.setenv("SERVER_JOBS_DATABASE_URL", sqlite_url)
    names: dict[str, Any] = {"__name__": f"page {name_of(page)}"}
    blocks = [block for block in code_blocks(page, "python") if "runnable" in block.marks]
    with asyncio.Runner() as runner:
        try:
            for block in blocks:
                code = compiled(page, block)
                if "sync" in block.marks:
                    eval(code, names)
                else:
                    runner.run(run(code, names))
        finally:
            runner.run(close_databases(names))


def compiled(page: Path, block: CodeBlock) -> CodeType:
    # A traceback then shows the page and the line in it.
    code = compile(
        "\n" * (block.line - 1) + block.text,
        str(page),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    assert isinstance(code, CodeType)
    return code


async def run(code: CodeType, names: dict[str, Any]) -> None:
    value = eval(code, names)
    if inspect.isawaitable(value):
        await value


async def close_databases(names: dict[str, Any]) -> None:
    """What a program that ends needn't do, a test must: other tests follow in this process."""
    for value in list(names.values()):
        if isinstance(value, Job):
            await value.database.close()
