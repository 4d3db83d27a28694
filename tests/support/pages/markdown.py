"""The documentation as data: pages, their code blocks, tables, links and headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=lambda page: page.relative_to(ROOT).parts
)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block: its language, the words behind it, where it begins, and its text."""

    language: str
    marks: tuple[str, ...]
    line: int
    text: str


Table = list[dict[str, str]]
"""The rows below the header, as Markdown source by column heading."""


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def code_blocks(page: Path, language: str | None = None) -> list[CodeBlock]:
    """Those of a language, or all that name one."""
    blocks = []
    for token in tokens(page):
        named, *marks = token.info.split() or [""]
        wanted = named if language is None else named == language
        if token.type == "fence" and wanted and token.map is not None:
            blocks.append(CodeBlock(named, tuple(marks), token.map[0] + 2, token.content))
    return blocks


def tables(page: Path) -> dict[str, list[Table]]:
    """Tables under the heading that they stand below."""
    found: dict[str, list[Table]] = {}
    heading, cells, inside = "", list[str](), False
    headers: list[str] = []
    for previous, token in zip([None, *tokens(page)], tokens(page), strict=False):
        match token.type:
            case "inline" if previous is not None and previous.type == "heading_open":
                heading = token.content
            case "table_open":
                inside, headers = True, []
                found.setdefault(heading, []).append([])
            case "table_close":
                inside = False
            case "tr_open":
                cells = []
            case "inline" if inside:
                cells.append(token.content)
            case "tr_close" if not headers:
                headers = cells
            case "tr_close":
                found[heading][-1].append(dict(zip(headers, cells, strict=True)))
    return found


def links(page: Path) -> Iterator[str]:
    """The targets of links and images."""
    for token in tokens(page):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                yield str(target)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    found: set[str] = set()
    for previous, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if previous.type == "heading_open":
            shown = "".join(child.content for child in token.children or ())
            found.add(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return found


def codes(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)
