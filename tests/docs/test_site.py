"""The site: every page is in its navigation, and what is broken on it is found."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pages.markdown import ROOT
from tools.site import links
from tools.site.pages import assemble, pages

SETTINGS = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]

BEGINS = re.compile(r"([-*]|\d+\.|\|) ")
GOES_ON = re.compile(r"([-*]|\d+\.|\|) |  |\|-")


def targets(entry: Any) -> Iterator[str]:
    """The pages below an entry of the navigation."""
    match entry:
        case str():
            yield entry
        case list():
            for each in entry:
                yield from targets(each)
        case _:
            yield from targets(list(entry.values()))


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(targets(SETTINGS["nav"])) == sorted(set(pages().values()))


def test_navigation_is_by_what_people_want_to_do() -> None:
    assert [next(iter(section)) for section in SETTINGS["nav"]] == [
        "Start",
        "Define",
        "Enqueue",
        "Run",
        "Schedule",
        "Deploy",
        "Watch",
        "Test",
        "Operate",
        "Upgrade",
        "Reference",
        "Project",
    ]


def test_no_fonts_come_from_another_host() -> None:
    assert SETTINGS["theme"]["font"] is False


def test_fences_and_links_are_such_as_the_builder_understands(tmp_path: Path) -> None:
    assemble(tmp_path / "pages")
    enqueue = (tmp_path / "pages" / "enqueue.md").read_text(encoding="utf-8")
    assembled = "\n".join(page.read_text("utf-8") for page in (tmp_path / "pages").rglob("*.md"))

    assert "```python\n" in enqueue
    assert "```python runnable" not in assembled
    # A file of the repository that a page links to is a page of the site.
    assert "](source/examples/sync_app.py.md)" in enqueue
    assert "run_sync" in (tmp_path / "pages/source/examples/sync_app.py.md").read_text("utf-8")
    # And pages outside of docs/ are called otherwise there.
    assert "](deploy-to-cloudflare.md" in (tmp_path / "pages/cloudflare.md").read_text("utf-8")


def test_lists_and_tables_have_a_blank_line_before_them(tmp_path: Path) -> None:
    """CommonMark needs none; the builder's Markdown would show running text."""
    assemble(tmp_path / "pages")
    wrong = []
    for page in (tmp_path / "pages").rglob("*.md"):
        before, fenced = "", False
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            fenced ^= line.lstrip().startswith("```")
            begins = BEGINS.match(line)
            if begins and not fenced and before.strip() and not GOES_ON.match(before):
                wrong.append(f"{page.relative_to(tmp_path)}:{number}: {line}")
            before = line

    assert wrong == []


def test_pages_of_before_are_gone(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "old.md").touch()

    assemble(tmp_path / "pages")

    assert not (tmp_path / "pages" / "old.md").exists()


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="there.html#here">', None),
        ('<a href="there.html?q=1#here">', None),
        ('<a href="https://example.com/">', None),
        ('<a href="folder/">', None),
        ('<a href="gone.html">', "index.html: the link gone.html leads nowhere"),
        ('<a href="../">', "index.html: the link ../ leads nowhere"),
        (
            '<a href="#gone">',
            "index.html: the link #gone has an anchor that index.html doesn't have",
        ),
        (
            '<a href="there.html#gone">',
            "index.html: the link there.html#gone has an anchor that there.html doesn't have",
        ),
        ('<img src="gone.png">', "index.html: loads gone.png, which leads nowhere"),
        (
            '<script src="https://example.com/x.js">',
            "index.html: loads https://example.com/x.js from another host;"
            " the site is to bring all it needs",
        ),
        (
            '<link rel="stylesheet" href="//fonts.example.com/x.css">',
            "index.html: loads //fonts.example.com/x.css from another host;"
            " the site is to bring all it needs",
        ),
    ],
)
def test_what_is_broken_in_the_html_is_found(
    tmp_path: Path, html: str, problem: str | None
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").touch()
    (tmp_path / "there.html").write_text('<h2 id="here">')
    (tmp_path / "index.html").write_text(html)

    assert list(links.problems(tmp_path)) == ([] if problem is None else [problem])
