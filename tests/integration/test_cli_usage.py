"""How the command line answers those who use it wrongly, and what its help says."""

import re
from pathlib import Path

import pytest

from server_jobs.errors import DatabaseUnavailableError
from server_jobs.migrate import migrate
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("process_state")

COMMANDS_ON_A_DATABASE = [("list",), ("show", "0"), ("stats",), ("doctor",), ("migrate",)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS_ON_A_DATABASE)
def test_empty_database_option_is_refused(command: tuple[str, ...], here: Path) -> None:
    result = Cli()(*command, "--database", "")

    assert result.exit_code == 2
    assert "--database" in result.stderr
    assert list(here.iterdir()) == []


def test_empty_environment_variable_counts_as_unset(here: Path) -> None:
    Cli(database_url="").ok("migrate")

    assert (here / "server-jobs.db").exists()


@pytest.mark.parametrize("command", COMMANDS_ON_A_DATABASE)
def test_missing_folder_is_named(command: tuple[str, ...], here: Path) -> None:
    result = Cli()(*command, "--database", f"sqlite:///{here}/nowhere/jobs.db")

    assert result.exit_code == 2
    assert f"there is no folder {here}/nowhere" in result.stderr


def test_advice_to_migrate_is_for_the_database_that_was_named(here: Path) -> None:
    named = Cli()("list", "--database", "sqlite:///other.db")
    by_environment = Cli(database_url="sqlite:///other.db")("list")

    assert "run `server-jobs migrate --database sqlite:///other.db`" in named.stderr
    assert "run `server-jobs migrate`" in by_environment.stderr


def test_advice_to_migrate_repeats_no_password(postgres_url: str) -> None:
    # The tests' server asks for none, and takes any.
    url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}password=hunter2"

    result = Cli()("list", "--database", url)

    assert "`server-jobs migrate --database …`" in result.stderr
    assert "hunter2" not in result.output


def test_database_that_is_away_is_shown_as_it_was_written() -> None:
    with pytest.raises(DatabaseUnavailableError, match=r"^postgresql://me:\*\*\*@127\.0\.0\.1:1/n"):
        migrate("postgresql://me:hunter2@127.0.0.1:1/name")


@pytest.mark.parametrize("command", [(), ("worker",), ("list",), ("doctor",)])
def test_help_shows_no_type_beside_what_is_only_on_or_off(command: tuple[str, ...]) -> None:
    help_text = Cli().ok(*command, "--help")

    assert re.search(r"--help\s+-h\s+Show", help_text)
    assert "bool" not in help_text.lower()


@pytest.mark.parametrize("code", ["0", "1", "2", "130", "143"])
def test_exit_codes_are_in_the_help(code: str) -> None:
    assert re.search(rf"^\s*{code}\s+\w", Cli().ok("--help"), re.MULTILINE)
