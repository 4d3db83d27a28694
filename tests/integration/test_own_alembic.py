"""A user's own Alembic, with a history of its own, on the database that has our tables."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from server_jobs.errors import ConfigurationError, InvalidDatabaseUrlError
from server_jobs.migrate import include_name, make_include_name, migrate

IncludeName = Callable[[str | None, str, Mapping[Any, str | None]], bool]

# The file that the page docs/alembic.md shows.
ENV = Path(__file__).resolve().parents[2] / "examples" / "alembic" / "env.py"
TEMPLATE = """\
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
from alembic import op
import sqlalchemy as sa

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
"""


def sqlalchemy_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def users_tables(schema: str | None = None) -> sa.MetaData:
    metadata = sa.MetaData(schema=schema)
    sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))
    return metadata


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sqlalchemy_url(url))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def differences(
    url: str, metadata: sa.MetaData, include_name: IncludeName | None = None, **options: Any
) -> set[tuple[str, str]]:
    """What autogenerate would do, tables only: the operation, and the table."""
    if include_name is not None:
        options["include_name"] = include_name
    with connected(url) as connection:
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, metadata)
    return {(one[0], one[1].name) for one in found if "table" in one[0]}


def drops(prefix: str = "") -> set[tuple[str, str]]:
    names = ("jobs", "cron_jobs", "server_jobs_leases", "server_jobs_schema", "server_jobs_version")
    return {("remove_table", f"{prefix}{name}") for name in names}


def test_autogenerate_drops_no_table_of_ours_and_still_sees_the_users(database_url: str) -> None:
    migrate(database_url)
    mine = users_tables()

    assert differences(database_url, mine) == drops() | {("add_table", "orders")}
    assert differences(database_url, mine, include_name) == {("add_table", "orders")}
    with connected(database_url) as connection, connection.begin():
        mine.create_all(connection)
        connection.execute(sa.text("CREATE TABLE old_orders (id INTEGER PRIMARY KEY)"))
    assert differences(database_url, mine, include_name) == {("remove_table", "old_orders")}


def test_a_prefix_is_the_environments_or_given(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database_url, table_prefix="sj_")
    with connected(database_url) as connection, connection.begin():
        # Not ours, since ours have a prefix.
        connection.execute(sa.text("CREATE TABLE jobs (id INTEGER PRIMARY KEY)"))
    mine = sa.MetaData()
    only_the_users = {("remove_table", "jobs")}

    given = make_include_name(table_prefix="sj_")
    assert differences(database_url, mine, given) == only_the_users
    monkeypatch.setenv("SERVER_JOBS_TABLE_PREFIX", "sj_")
    assert differences(database_url, mine, include_name) == only_the_users


def test_a_schema_of_our_own_is_left_alone_and_the_users_tables_of_that_name_are_not(
    postgres_url: str,
) -> None:
    migrate(postgres_url, schema="background")
    mine = users_tables()
    with connected(postgres_url) as connection, connection.begin():
        mine.create_all(connection)
        connection.execute(sa.text("CREATE TABLE jobs (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("CREATE TABLE background.orders (id INTEGER PRIMARY KEY)"))
    users = {("remove_table", "jobs"), ("remove_table", "orders")}

    assert differences(postgres_url, mine, include_schemas=True) == users | drops()
    include = make_include_name(schema="background")
    assert differences(postgres_url, mine, include, include_schemas=True) == users


def test_the_schema_called_public_is_the_one_without_a_name(postgres_url: str) -> None:
    migrate(postgres_url, schema="public")

    include = make_include_name(schema="public")
    assert differences(postgres_url, sa.MetaData(), include) == set()
    assert differences(postgres_url, sa.MetaData(), include, include_schemas=True) == set()


def test_a_prefix_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="table_prefix"):
        make_include_name(table_prefix="; DROP")


NESTED = """\
revision = "nested"
down_revision = None
from alembic import op
import sqlalchemy as sa
from server_jobs.migrate import migrate

def upgrade():
    op.create_table("before", sa.Column("id", sa.Integer))
    migrate({url!r})
"""


class Project:
    """A user's folder of migrations."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "versions").mkdir(parents=True)
        shutil.copy(ENV, folder)
        (folder / "script.py.mako").write_text(TEMPLATE)
        self.config = Config()
        self.config.set_main_option("script_location", str(folder))
        self.config.set_main_option("path_separator", "os")
        self.config.set_main_option("sqlalchemy.url", sqlalchemy_url(url).replace("%", "%%"))

    def revision(self) -> str:
        """Autogenerate one → its text."""
        script = command.revision(self.config, "change", autogenerate=True)
        assert script is not None
        assert not isinstance(script, list)
        return Path(script.path).read_text(encoding="utf-8")


def test_two_histories_go_on_beside_each_other(database_url: str, tmp_path: Path) -> None:
    migrate(database_url)
    project = Project(tmp_path / "migrations", database_url)

    first = project.revision()
    command.upgrade(project.config, "head")
    second = project.revision()

    assert "op.create_table('orders'" in first
    assert "drop" not in first.partition("def downgrade")[0]
    assert "pass" in second
    assert "op." not in second
    assert migrate(database_url) == []
    with connected(database_url) as connection:
        found = set(sa.inspect(connection).get_table_names())
    assert {"alembic_version", "server_jobs_version", "orders", "jobs"} <= found


def test_migrating_inside_a_users_revision_is_refused_at_once(
    database_url: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "migrations", database_url)
    revision = tmp_path / "migrations" / "versions" / "nested.py"
    revision.write_text(NESTED.format(url=database_url))

    with pytest.raises(ConfigurationError, match="before or after yours"):
        command.upgrade(project.config, "head")

    with connected(database_url) as connection:
        assert "jobs" not in sa.inspect(connection).get_table_names()
    assert migrate(database_url) != []
