"""Reads where a PostgreSQL database is as libpq does, and never quotes what may be a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from server_jobs.errors import InvalidDatabaseUrlError, MissingDependencyError
from server_jobs.masks import SECRET_NAMES

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import Conninfo
except ImportError as error:  # pragma: no cover - shown by tests/packaging in a bare environment
    raise MissingDependencyError(
        "PostgreSQL needs psycopg: pip install 'server-jobs[postgres]'"
    ) from error

OPTIONS = frozenset({"pool_size", "pgbouncer", "notify", "answer_timeout"})
"""The options that a PostgreSQL URL may have besides libpq's parameters."""

# libpq: name=value or name='a value', where a backslash takes the next character as it is.
_SETTING = re.compile(
    r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?!')(?:[^\s\\]|\\.)*)(?:\s+|$)", re.DOTALL
)
_HOST_AND_PORT = re.compile(r"([^/:]+|\[[^\]]*\]):(\d+)")
_LOOKS_LIKE = "it looks like postgresql://user:password@host:5432/name"

# With these the kernel notices within half a minute that a peer has vanished.
_NETWORK_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

_OTHER_NAMES = {
    "ssl": "libpq's name for it is sslmode (sslmode=require)",
    "schema": "set SERVER_JOBS_SCHEMA",
    "currentSchema": "set SERVER_JOBS_SCHEMA",
}


@dataclass(frozen=True, repr=False)
class PostgresUrl:
    """Where a PostgreSQL database is, and how it is used."""

    parameters: Mapping[str, str]
    """libpq's parameters that the URL gives."""
    options: Mapping[str, str]
    """Our own options that the URL gives."""
    shown: str
    """The URL for people to see: without its password, and without tokens in its options."""

    def __repr__(self) -> str:
        return f"PostgresUrl({self.shown})"

    def to_connect(self) -> dict[str, str]:
        """Return what libpq connects with: the URL's parameters, and our defaults for the others.

        libpq itself adds what the environment (PGHOST, …), a service and a password file say.
        """
        outside = _outside()
        defaults = {"fallback_application_name": "server-jobs"}
        # A parameter would overrule the service's, and nobody but libpq reads its file.
        if "service" not in self.parameters and "service" not in outside:
            missing = _NETWORK_DEFAULTS.keys() - outside.keys()
            defaults |= {name: _NETWORK_DEFAULTS[name] for name in missing}
        hosts = self.parameters.get("host", outside.get("host", ""))
        if "," in hosts and "target_session_attrs" not in outside:
            # Of several servers at most one takes writes, and it isn't always the first.
            defaults["target_session_attrs"] = "read-write"
        return {**defaults, **self.parameters, "client_encoding": "UTF8"}


def read_url(rest: str) -> PostgresUrl:
    """Read what follows ``postgresql://``. Raises InvalidDatabaseUrlError."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise _invalid("it has a % without two hexadecimal digits; a % itself is written %25")
    if "%00" in rest:
        raise _invalid("it has a %00, and no name and no password can have a character 0")
    # libpq ends a user's name and password at the first @, unless a / comes before it.
    found = re.match(r"[^@/]*@", rest)
    user = found[0] if found else ""
    address, _, query = rest.removeprefix(user).partition("?")
    if "@" in address:
        raise _invalid(
            "it has an @ after a slash; in a password a / is written %2F, and in the name of a"
            " database an @ is written %40"
        )
    pairs = list(_pairs(query, may_be_password="@" in query))
    options = {name: value for name, value in pairs if name in OPTIONS}
    pairs = [(name, value) for name, value in _joined(pairs) if name not in OPTIONS]
    text = f"postgresql://{user}{address}".replace(" ", "%20")
    if pairs:
        text += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    name, colon, _ = user.removesuffix("@").partition(":")
    shown = f"postgresql://{name}{':***' if colon else ''}{'@' if user else ''}{address}"
    seen = [
        f"{name}={quote(value, safe='/:,')}"
        for name, value in pairs
        if not SECRET_NAMES.search(name)
    ]
    return PostgresUrl(_by_libpq(text), options, shown + ("?" if seen else "") + "&".join(seen))


def read_conninfo(text: str) -> PostgresUrl:
    """Read libpq's other form, ``host=… dbname=…``. Raises InvalidDatabaseUrlError."""
    settings: dict[str, str] = {}
    end = 0
    while end < len(text):
        found = _SETTING.match(text, end)
        if found is None:
            raise _invalid("after its first settings it isn't name=value or name='a value'")
        value = found[2][1:-1] if found[2].startswith("'") else found[2]
        settings[found[1]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        end = found.end()
    for name in settings:
        _check_name(name)
    options = {name: value for name, value in settings.items() if name in OPTIONS}
    rest = {name: value for name, value in settings.items() if name not in OPTIONS}
    shown = " ".join(
        f"{name}={value}" for name, value in rest.items() if not SECRET_NAMES.search(name)
    )
    return PostgresUrl(_by_libpq(psycopg.conninfo.make_conninfo(**rest)), options, shown)


def _by_libpq(text: str) -> dict[str, str]:
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except (psycopg.Error, UnicodeError):
        # libpq quotes what it can't read.
        raise _invalid(_LOOKS_LIKE) from None
    for port in parameters.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise _invalid(
                "a port isn't a number between 1 and 65535; in a password a / is written %2F,"
                " a : %3A and an @ %40"
            )
    return parameters


def _pairs(query: str, *, may_be_password: bool) -> Iterator[tuple[str, str]]:
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise _invalid("an option of it has no value; options look like ?sslmode=require")
        try:
            name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise _invalid("an option of it isn't %-encoded UTF-8") from None
        if (name, value) == ("ssl", "true"):
            name, value = "sslmode", "require"  # libpq understands this one
        _check_name(name, quoted=not may_be_password)
        yield name, value


def _joined(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write several hosts as libpq does: SQLAlchemy's ``host=a:1&host=b:2`` as lists."""
    hosts, ports = ([value for name, value in pairs if name == key] for key in ("host", "port"))
    others = [pair for pair in pairs if pair[0] not in {"host", "port"}]
    found = [_HOST_AND_PORT.fullmatch(host) for host in ",".join(hosts).split(",")]
    if any(found):
        if ports:
            raise _invalid("write ports either behind the hosts or as port=…, not both")
        hosts = [
            one[1] if one else host
            for one, host in zip(found, ",".join(hosts).split(","), strict=True)
        ]
        ports = [one[2] if one else "" for one in found]
    lists = [("host", hosts), ("port", ports)]
    return others + [(name, ",".join(values)) for name, values in lists if values]


def _check_name(name: str, *, quoted: bool = True) -> None:
    if name in OPTIONS or name in {option.keyword.decode() for option in Conninfo.get_defaults()}:
        return
    # What stands there may be the end of a password that has a raw & or ? in it.
    shown = repr(name) if quoted and re.fullmatch(r"[A-Za-z_]{1,40}", name) else "of this name"
    way_out = _OTHER_NAMES.get(name, f"there are libpq's and {', '.join(sorted(OPTIONS))}")
    raise InvalidDatabaseUrlError(f"postgresql URLs have no option {shown}: {way_out}")


def _outside() -> dict[str, str]:
    """Read the parameters that the environment gives, or the service that it names."""
    return {
        option.keyword.decode(): option.val.decode(errors="replace")
        for option in Conninfo.get_defaults()
        if option.val and option.val != option.compiled
    }


def _invalid(why: str) -> InvalidDatabaseUrlError:
    return InvalidDatabaseUrlError(f"the database URL can't be parsed: {why}")
