"""Reads database URLs, for every part that takes one. What may be a password is never quoted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from server_jobs.database.base import shown_url
from server_jobs.errors import InvalidDatabaseUrlError

if TYPE_CHECKING:
    from server_jobs.database.postgres_url import PostgresUrl

SQLITE_OPTIONS = frozenset({"synchronous", "busy_timeout"})

_LOOKS_LIKE = (
    "it looks like sqlite:///jobs.db, postgresql://user:password@host:5432/name (special characters"
    " %-encoded) or libsql://host"
)
_QUOTES = "\"'"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_BACKENDS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "libsql": "libsql",
    "https": "libsql",
    "http": "libsql",
}


@dataclass(frozen=True)
class SqliteUrl:
    """A SQLite file, as it is written in the URL; None is a database in memory."""

    file: Path | None
    options: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The URL for people to see."""
        return f"sqlite:///{self.file or ''}"


@dataclass(frozen=True, repr=False)
class LibsqlUrl:
    """The address of a libSQL server, which is reached over HTTP."""

    url: URL

    @property
    def shown(self) -> str:
        """The URL for people to see: without its token."""
        return shown_url(self.url)


DatabaseUrl: TypeAlias = "SqliteUrl | PostgresUrl | LibsqlUrl"


def parse_url(url: str) -> DatabaseUrl:
    """Read a database URL. Raises InvalidDatabaseUrlError, also for databases not supported.

    Blanks, line breaks and quotes around it are no part of it: files of settings and Kubernetes'
    Secrets often have them. MissingDependencyError is raised if its driver isn't installed.
    """
    url = _clean(url)
    backend, scheme, rest = _split(url)
    if backend != "sqlite" and not _is_text(url):
        raise _invalid("it has bytes that aren't UTF-8; %-encode them")
    if backend == "postgresql":
        from server_jobs.database.postgres_url import read_conninfo, read_url

        return read_url(rest) if scheme else read_conninfo(rest)
    if backend == "sqlite":
        return _sqlite(rest)
    try:
        return LibsqlUrl(make_url(f"{scheme}://{rest}"))
    except (ArgumentError, ValueError):  # ValueError: the port isn't a number
        raise _invalid() from None


def backend_of(url: str) -> str:
    """Return ``sqlite``, ``postgresql`` or ``libsql``, without its driver being installed.

    Raises InvalidDatabaseUrlError.
    """
    return _split(_clean(url))[0]


def _is_text(url: str) -> bool:
    # What the environment has in another encoding stands for its bytes.
    return not any("\ud800" <= character <= "\udfff" for character in url)


def _clean(url: str) -> str:
    url = url.strip().lstrip("\ufeff")
    if len(url) > 1 and url[0] in _QUOTES and url[0] == url[-1]:
        url = url[1:-1].strip()
    if not url:
        raise _invalid("it is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in url):
        raise _invalid("it has a line break or another control character in it")
    return url


def _split(url: str) -> tuple[str, str, str]:
    """Split a URL → its backend, its scheme, its rest. libpq's ``name=value`` has no scheme."""
    found = _SCHEME.match(url)
    if found is None:
        if re.match(r"[a-z_]+\s*=", url):
            return "postgresql", "", url
        if url.lower().startswith("jdbc:"):
            raise _invalid("jdbc: is Java's; leave it out, and write the user before the host")
        raise _invalid()
    rest = url[found.end() :]
    name = found[1].lower().partition("+")[0]
    if name not in _BACKENDS:
        raise InvalidDatabaseUrlError(
            f"{name}:// isn't supported; use sqlite:///, postgresql:// or libsql://"
        )
    if rest.count("@") > 1 and not rest.startswith("/"):
        # A password with an @ would be cut there, and its rest be taken for the host.
        raise InvalidDatabaseUrlError(
            "the database URL has more than one @; in a user name, a password or an option it is"
            " written %40"
        )
    return _BACKENDS[name], name, rest


def _sqlite(rest: str) -> SqliteUrl:
    # SQLAlchemy takes the file's name as it is written, and so do we: nothing is %-decoded.
    path, _, query = rest.partition("?")
    if path and not path.startswith("/"):
        raise InvalidDatabaseUrlError(
            "sqlite:// is followed by a third slash and the file: sqlite:///relative or"
            " sqlite:////absolute; it has no host and no user"
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in SQLITE_OPTIONS:
            raise InvalidDatabaseUrlError(
                f"sqlite URLs have no option {name!r}; there are"
                f" {', '.join(sorted(SQLITE_OPTIONS))}"
            )
    name = path.removeprefix("/")
    if name in {"", ":memory:"}:
        return SqliteUrl(None, options)
    if name.startswith("file:"):
        raise InvalidDatabaseUrlError(
            "sqlite:///file:… isn't supported; write the file's path alone: sqlite:////absolute.db"
        )
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", name):
        raise InvalidDatabaseUrlError(
            f"{name} is a path of Windows, and this isn't Windows: sqlite:////folder/jobs.db"
        )
    return SqliteUrl(Path(name), options)


def _invalid(why: str = "") -> InvalidDatabaseUrlError:
    # The URL isn't shown, since it may hold a password.
    reason = f"{why}; {_LOOKS_LIKE}" if why else _LOOKS_LIKE
    return InvalidDatabaseUrlError(f"the database URL can't be parsed: {reason}")
