"""The pages as the site's builder wants them, made from the repository's Markdown.

The repository's pages are CommonMark and link to files of the repository; both read well where
the code is hosted. The builder knows neither: links out of ``docs/`` lead nowhere on a site, and
words behind a fence's language (``python runnable``) keep it from seeing a fence. So the pages
are copied, with their links and fences rewritten. A file of the repository that a page links to
becomes a page of its own.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs"

OTHER_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "charts/server-jobs/README.md": "chart.md",
    "cloudflare/README.md": "deploy-to-cloudflare.md",
    # The site has a front page of its own.
    "README.md": "index.md",
}
"""Pages outside of ``docs/`` that the site has, and what they are called there."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>.*)$")
_LINK = re.compile(r"\]\((?P<target>[^()\s]+)\)")
# One right above a table would make the table running text.
_COMMENT = re.compile(r"^<!--.*-->$")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sql": "sql", ".service": "ini"}


def assemble(into: Path) -> None:
    """Write the site's pages into the folder ``into``, which is emptied before."""
    shutil.rmtree(into, ignore_errors=True)
    linked: set[str] = set()
    for image in (ROOT / DOCS / "images").glob("*"):
        _copy(image, into / _in_docs(image))
    for source, page in pages().items():
        if source == "README.md":
            continue
        text = (ROOT / source).read_text(encoding="utf-8")
        _write(into / page, _rewritten(text, source, page, linked))
    for source in sorted(linked):
        _write(into / _source_page(source), _shown_source(ROOT / source, source))


@cache
def pages() -> dict[str, str]:
    """The site's pages by the repository's paths."""
    found = sorted((ROOT / DOCS).rglob("*.md"))
    in_docs = {path.relative_to(ROOT).as_posix(): _in_docs(path) for path in found}
    return in_docs | OTHER_PAGES


def _in_docs(path: Path) -> str:
    return path.relative_to(ROOT / DOCS).as_posix()


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, to)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _rewritten(text: str, source: str, page: str, linked: set[str]) -> str:
    def target(link: str) -> str:
        return _target(link, source, page, linked)

    lines = []
    closing: str | None = None
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if closing is not None:
            if fence and fence["ticks"] == closing and not fence["info"].strip():
                closing = None
            lines.append(line)
        elif fence:
            closing = fence["ticks"]
            lines.append(f"{fence['indent']}{fence['ticks']}{_info(fence['info'])}")
        elif not _COMMENT.match(line):
            lines.append(_LINK.sub(lambda link: f"]({target(link['target'])})", line))
    return "\n".join(lines) + "\n"


def _info(info: str) -> str:
    """The language alone; a file that is shown is named above it."""
    language, *marks = info.split() or [""]
    files = [mark.removeprefix("file=") for mark in marks if mark.startswith("file=")]
    return f'{language} title="{files[0]}"' if files else language


def _target(target: str, source: str, page: str, linked: set[str]) -> str:
    if "://" in target or target.startswith(("#", "mailto:")):
        return target
    path, hash_sign, anchor = target.partition("#")
    file = os.path.normpath((ROOT / source).parent / unquote(path))
    if not file.startswith(f"{ROOT}/") or not Path(file).exists():
        return target  # the builder says that it leads nowhere
    if Path(file).is_relative_to(ROOT / DOCS / "images"):
        return os.path.relpath(_in_docs(Path(file)), PurePosixPath(page).parent)
    wanted = Path(file).relative_to(ROOT).as_posix()
    known = pages()
    if wanted not in known:
        linked.add(wanted)
    found = known.get(wanted) or _source_page(wanted)
    return os.path.relpath(found, PurePosixPath(page).parent) + hash_sign + anchor


def _source_page(source: str) -> str:
    return f"source/{source}.md"


def _shown_source(path: Path, source: str) -> str:
    """A file of the repository, or a list of what is in a folder of it, as a page."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {source}\n\n"
    if path.is_dir():
        names = sorted(
            f"{each.name}/" if each.is_dir() else each.name
            for each in path.iterdir()
            if not each.name.startswith((".", "__pycache__"))
        )
        return (
            head + "This folder of the repository has:\n\n" + "".join(f"- `{n}`\n" for n in names)
        )
    language = _LANGUAGES.get(path.suffix, "text")
    return f"{head}````{language}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n"
