"""What the finished site links to: every link of it leads somewhere, and no page loads from afar.

The builder checks the Markdown. This reads the HTML, so that links that the builder makes itself
and anchors of the API reference are checked too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADING = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
_HARMLESS_RELATIONS = {"canonical", "next", "prev", "alternate"}


@dataclass
class _Page:
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = _Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.page.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        elif tag == "link" and values.get("rel") in _HARMLESS_RELATIONS:
            pass
        elif (attribute := _LOADING.get(tag)) and attribute in values:
            self.page.loads.append(values[attribute])


def problems(site: Path) -> Iterator[str]:
    """What is wrong, a line each, with the page and the link."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        shown = path.relative_to(site)
        for link in page.links:
            if (wrong := _wrong(link, path, site, pages)) is not None:
                yield f"{shown}: the link {link} {wrong}"
        for load in page.loads:
            if urlsplit(load).netloc:
                yield f"{shown}: loads {load} from another host; the site is to bring all it needs"
            elif (wrong := _wrong(load, path, site, pages)) is not None:
                yield f"{shown}: loads {load}, which {wrong}"


def anchors(page: Path) -> set[str]:
    """What links into the page can end in."""
    return _read(page).anchors


def _read(path: Path) -> _Page:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


def _wrong(link: str, source: Path, site: Path, pages: dict[Path, _Page]) -> str | None:
    parts = urlsplit(link)
    # The page for what isn't found is served at any depth, hence its links begin at the root.
    if parts.scheme or parts.netloc or source.name == "404.html":
        return None
    target = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(site) or not target.exists():
        return "leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return f"has an anchor that {target.relative_to(site)} doesn't have"
    return None
