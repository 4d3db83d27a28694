"""A PostgreSQL URL is read as libpq reads it, and what may be a password is never quoted."""

import traceback
from urllib.parse import quote

import pytest

from server_jobs import connect
from server_jobs.database import backend_of, parse_url
from server_jobs.database.postgres_url import PostgresUrl
from server_jobs.errors import InvalidDatabaseUrlError
from server_jobs.masks import mask_passwords

SECRET = "s3cret"
AWKWARD = f" {SECRET}%@:/?#[]&=+\"'\\ü€ "


def read(url: str) -> PostgresUrl:
    parsed = parse_url(url)
    assert isinstance(parsed, PostgresUrl)
    assert SECRET not in parsed.shown + repr(parsed) + repr(connect(url))
    return parsed


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://", {}),
        ("postgres://h/n", {"host": "h", "dbname": "n"}),
        ("POSTGRESQL://h/n", {"host": "h", "dbname": "n"}),
        ("postgresql+psycopg://h/n", {"host": "h", "dbname": "n"}),
        ("postgresql+asyncpg://h/n", {"host": "h", "dbname": "n"}),
        (
            f"postgresql://u:{quote(AWKWARD, safe='')}@h",
            {"user": "u", "password": AWKWARD, "host": "h"},
        ),
        (
            f"postgresql://h?user=u&password={quote(AWKWARD, safe='')}",
            {"user": "u", "password": AWKWARD, "host": "h"},
        ),
        (
            f"postgresql://u:a {SECRET}:?#[ü]+&=@h/n m",
            {"user": "u", "password": f"a {SECRET}:?#[ü]+&=", "host": "h", "dbname": "n m"},
        ),
        (
            f"postgresql://{quote(AWKWARD.replace(SECRET, ''), safe='')}@h",
            {"user": AWKWARD.replace(SECRET, ""), "host": "h"},
        ),
        ("postgresql://h/n%2Fm%40%20%C3%BC", {"host": "h", "dbname": "n/m@ ü"}),
        ("postgresql://h1,h2:5433/n", {"host": "h1,h2", "port": ",5433", "dbname": "n"}),
        ("postgresql://h1:5432,h2:5433/n", {"host": "h1,h2", "port": "5432,5433", "dbname": "n"}),
        ("postgresql:///n?host=a&host=b&port=1", {"host": "a,b", "port": "1", "dbname": "n"}),
        (
            "postgresql:///n?host=a&host=b&port=1&port=2",
            {"host": "a,b", "port": "1,2", "dbname": "n"},
        ),
        ("postgresql:///n?host=a,b&port=1,2", {"host": "a,b", "port": "1,2", "dbname": "n"}),
        ("postgresql:///n?host=a:1&host=b:2", {"host": "a,b", "port": "1,2", "dbname": "n"}),
        ("postgresql://u@%2Fvar%2Frun/n", {"user": "u", "host": "/var/run", "dbname": "n"}),
        ("postgresql:///n?host=/tmp/a b", {"host": "/tmp/a b", "dbname": "n"}),
        (
            "postgresql://[::1]:5433,[fe80::2]/n",
            {"host": "::1,fe80::2", "port": "5433,", "dbname": "n"},
        ),
        ("postgresql://h/n?ssl=true", {"host": "h", "dbname": "n", "sslmode": "require"}),
        (
            "postgresql://h/n?target_session_attrs=any&load_balance_hosts=random&sslmode=verify-full"
            "&sslrootcert=/a b&sslcert=/c&sslkey=/k&passfile=/p",
            {
                "host": "h",
                "dbname": "n",
                "target_session_attrs": "any",
                "load_balance_hosts": "random",
                "sslmode": "verify-full",
                "sslrootcert": "/a b",
                "sslcert": "/c",
                "sslkey": "/k",
                "passfile": "/p",
            },
        ),
        ("postgresql://h?options=-c a=b -c%20c%3Dd", {"host": "h", "options": "-c a=b -c c=d"}),
        (f"postgresql://h?sslpassword={SECRET}", {"host": "h", "sslpassword": SECRET}),
        ("postgresql://?service=jobs", {"service": "jobs"}),
        (
            f"host=h dbname='a b' password = 'x\\'{SECRET}' pool_size=3",
            {"host": "h", "dbname": "a b", "password": f"x'{SECRET}"},
        ),
        (
            f"host=/tmp user=u password={SECRET}\\ x'y",
            {"host": "/tmp", "user": "u", "password": f"{SECRET} x'y"},
        ),
        ("service=jobs", {"service": "jobs"}),
    ],
)
def test_libpq_reads_it(url: str, parameters: dict[str, str]) -> None:
    assert dict(read(url).parameters) == parameters
    assert backend_of(url) == "postgresql"


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n", "'{}'", '"{}"\n', "\ufeff{}", '\t"{} "'])
@pytest.mark.parametrize("url", ["postgresql://h/n", "host=h dbname=n"])
def test_what_files_of_settings_leave_around_it_is_no_part_of_it(around: str, url: str) -> None:
    assert dict(read(around.format(url)).parameters) == {"host": "h", "dbname": "n"}


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("''", "it is empty"),
        (f"postgresql://u:{SECRET}%zz@h/n", "written %25"),
        (f"postgresql://u:100%{SECRET}@h/n", "written %25"),
        (f"postgresql://u:{SECRET}%00@h/n", "character 0"),
        (f"postgresql://u:{SECRET}%FF@h/n", "can't be parsed"),
        (f"postgresql://h/n?password={SECRET}%FF", "UTF-8"),
        (f"postgresql://u:{SECRET}\udcfc@h/n", "aren't UTF-8"),
        (f"postgresql://h?password={SECRET}\udcfc", "aren't UTF-8"),
        (f"password={SECRET}\udcfc", "aren't UTF-8"),
        (f"postgresql://u:{SECRET}\n@h/n", "line break"),
        (f"postgresql://u:{SECRET}\0@h/n", "control character"),
        (f"postgresql://u:a/{SECRET}@h/n", "written %2F"),
        (f"postgresql://u:12/{SECRET}@h/n", "written %2F"),
        (f"postgresql://u:{SECRET}?{SECRET}/1@h/n", "no value"),
        (f"postgresql://u:{SECRET}/n", "a port isn't a number"),
        (f"postgresql://u:{SECRET}@h:70000/n", "between 1 and 65535"),
        (f"postgresql://u:{SECRET}@h:1:2/n", "a port isn't a number"),
        (f"postgresql://u:{SECRET}@[::1/n", "can't be parsed"),
        (f"postgresql://u:{SECRET}@h?host=a:1&port=2", "not both"),
        (f"postgresql://h?password=a&{SECRET}1=2", "no option of this name"),
        (f"postgresql://u:{SECRET}@h?sslmode", "no value"),
        (f"postgresql://u:{SECRET}@h?ssl=require", "sslmode=require"),
        (f"postgresql://u:{SECRET}@h?schema=work", "SERVER_JOBS_SCHEMA"),
        (f"jdbc:postgresql://h/n?user=u&password={SECRET}", "jdbc: is Java's"),
        (f"host=h password='{SECRET}", "name=value"),
        (f"host=h password=a {SECRET}", "name=value"),
        (f"host=h nonsense=1 password={SECRET}", "no option 'nonsense'"),
        (f"mysql+pymysql://u:{SECRET}@h/n", "isn't supported"),
        (f"u:{SECRET}@h/n", "can't be parsed"),
        (f"libsql://h:x/?authToken={SECRET}", "can't be parsed"),
        (f"libsql://h?authToken={SECRET}&x=1", "no option 'x'"),
        ("sqlite:///file:jobs.db?mode=ro", "no option 'mode'"),
        ("sqlite:///file:jobs.db", "path alone"),
        ("sqlite:///C:\\jobs.db", "path of Windows"),
        ("sqlite:///C:/jobs.db", "path of Windows"),
    ],
)
def test_it_is_refused_with_the_way_out_and_without_its_password(url: str, hint: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError) as caught:
        connect(url)

    assert hint in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value)).replace(url, "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a b.db", "a b.db"),
        ("a%20b.db", "a%20b.db"),
        ("a#b.db?busy_timeout=1", "a#b.db"),
        ("ü.db", "ü.db"),
    ],
)
def test_name_of_a_file_is_taken_as_it_is_written(name: str, file: str) -> None:
    assert repr(connect(f"sqlite:////tmp/{name}")) == f"SqliteDatabase(/tmp/{file})"


def test_what_the_environment_and_services_say_is_not_overruled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = read("postgresql://h/n")
    assert url.to_connect() == {
        "host": "h",
        "dbname": "n",
        "client_encoding": "UTF8",
        "fallback_application_name": "server-jobs",
        "connect_timeout": "10",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert "connect_timeout" not in url.to_connect()
    assert read("postgresql://h/n?connect_timeout=4").to_connect()["connect_timeout"] == "4"
    assert "keepalives_idle" not in read("service=jobs").to_connect()


def test_of_several_servers_the_one_that_takes_writes_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "target_session_attrs" not in read("postgresql://a/n").to_connect()
    several = read("postgresql://a,b/n")
    assert several.to_connect()["target_session_attrs"] == "read-write"
    chosen = read("postgresql://a,b/n?target_session_attrs=primary")
    assert chosen.to_connect()["target_session_attrs"] == "primary"
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    assert "target_session_attrs" not in several.to_connect()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"at postgresql://u:a {SECRET}\"'x@h/n", "at postgresql://u:***@h/n"),
        (f"host=h password={SECRET} dbname=n", "host=h password=*** dbname=n"),
        (f"password = 'a \\'{SECRET}', x", "password = ***, x"),
        (f"sslpassword={SECRET}", "sslpassword=***"),
        (f"libsql://h?authToken={SECRET}&tls=0", "libsql://h?authToken=***&tls=0"),
        (f"http://u:{SECRET}@h/n", "http://u:***@h/n"),
        ('"postgresql://h:5432", "to": "a@b"', '"postgresql://h:5432", "to": "a@b"'),
    ],
)
def test_whatever_a_library_says_is_masked(text: str, shown: str) -> None:
    assert mask_passwords(text) == shown
