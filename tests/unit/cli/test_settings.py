"""One declaration of a setting is its flag, its variable and its default, whatever reads them."""

import os
from collections.abc import Mapping
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from server_jobs.cli.commands.run import SETTINGS as RUN
from server_jobs.cli.commands.run import parser
from server_jobs.cli.commands.worker import SETTINGS as WORKER
from server_jobs.cli.environment import tidy_environment
from server_jobs.cli.flags import takes_settings
from server_jobs.cli.logs import LogFormat, LogLevel
from server_jobs.cli.settings import Setting, names_in
from server_jobs.launches.runner import RunnerConfig
from server_jobs.worker import WorkerConfig

RUN_REQUIRED = ("--job-id", "0197", "--fence", "3")


def given(settings: Mapping[str, Setting], *arguments: str, **env: str) -> dict[str, Any]:
    """What a Typer command with these settings is called with."""
    got: list[dict[str, Any]] = []
    app = typer.Typer()

    @app.command()
    @takes_settings(settings)
    def command(*, settings: dict[str, Any]) -> None:
        got.append(settings)

    result = CliRunner().invoke(app, arguments, env=env)
    assert result.exit_code == 0, result.output
    return got[0]


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SERVER_JOBS_")]:
        monkeypatch.delenv(name)


def test_worker_without_options_is_the_worker_of_a_program_without_options() -> None:
    assert WorkerConfig(**given(WORKER)) == WorkerConfig()


def test_runner_without_options_is_the_runner_of_a_program_without_options() -> None:
    options = vars(parser().parse_args(RUN_REQUIRED))
    fields = ("lease", "grace", "max_launch_failures", "max_releases")

    config = RunnerConfig("one", **{name: options[name] for name in fields})

    assert config == RunnerConfig("one")
    assert all(type(options[name]) is type(getattr(config, name)) for name in fields)


def test_flag_takes_precedence_over_its_variable_and_that_over_the_default() -> None:
    env = {"SERVER_JOBS_LEASE": "60", "SERVER_JOBS_KEEP_FAILED": "forever", "SERVER_JOBS_GRACE": ""}

    config = WorkerConfig(**given(WORKER, "--lease", "90.5", **env))

    assert (config.lease, config.keep_failed, config.grace) == (90.5, None, 30.0)


def test_runners_flag_takes_precedence_over_its_variable_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (
        ("LEASE", "60"),
        ("MAX_RELEASES", "2"),
        ("GRACE", ""),
        ("LOG_LEVEL", "INFO"),
    ):
        monkeypatch.setenv(f"SERVER_JOBS_{name}", value)

    options = parser().parse_args([*RUN_REQUIRED, "--lease", "90.5"])

    assert (options.lease, options.max_releases, options.grace) == (90.5, 2, 30.0)
    assert options.log_level == "info"


def test_runner_refuses_what_its_environment_sets_wrongly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVER_JOBS_LOG_FORMAT", "xml")

    with pytest.raises(SystemExit):
        parser().parse_args(RUN_REQUIRED)

    assert "--log-format: 'xml' isn't one of auto, console, json" in capsys.readouterr().err


def test_choices_of_a_runner_are_those_of_the_other_commands() -> None:
    assert RUN["log_format"].choices == tuple(LogFormat)
    assert RUN["log_level"].choices == tuple(LogLevel)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["a"], ("a",)),
        (["a,b", " c ", "a"], ("a", "b", "c")),
        (["a, b"], ("a", "b")),
        (["a ,\tb\n"], ("a", "b")),
        (["a,,b,"], ("a", "b")),
        (["'a', \"b\""], ("a", "b")),
        (["é,日本"], ("é", "日本")),
        ([",", " "], ()),
    ],
)
def test_list_is_cut_at_its_commas(values: list[str], names: tuple[str, ...]) -> None:
    assert names_in(values) == names


@pytest.mark.parametrize("variable", ["default, mail", "default,mail", " default ,, mail, default"])
def test_variable_is_the_same_list_as_the_flag(variable: str) -> None:
    assert given(WORKER, SERVER_JOBS_QUEUE=variable)["queues"] == ("default", "mail")
    assert given(WORKER, "--queue", variable)["queues"] == ("default", "mail")
    assert given(WORKER, "--queue", "default", "--queue", " mail")["queues"] == ("default", "mail")


@pytest.mark.parametrize("value", [",", "two words", "a,two\twords", "\x1b[31m", "q" * 256])
def test_list_that_is_wrong_names_the_flag_and_the_variable(value: str) -> None:
    app = typer.Typer()
    app.command()(takes_settings(WORKER)(lambda *, settings: None))

    for arguments, env in ((["--queue", value], {}), ([], {"SERVER_JOBS_QUEUE": value})):
        result = CliRunner().invoke(app, arguments, env=env)

        assert result.exit_code == 2, result.output
        assert "--queue" in result.output
        assert "SERVER_JOBS_QUEUE" in result.output


def test_variables_lose_what_secrets_and_files_of_variables_leave_around_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "postgresql://app:it's@db/shop"
    for name, value in (
        ("DATABASE_URL", f"{url}\n"),
        ("APP", '"shop.jobs:registry"'),
        ("QUEUE", "'default', 'mail'"),
        ("LEASE", " 60\r\n"),
        ("GRACE", " \n"),
        ("SCHEMA", '""'),
    ):
        monkeypatch.setenv(f"SERVER_JOBS_{name}", value)
    monkeypatch.setenv("OTHERS", " kept\n")

    tidy_environment()

    ours = {name: value for name, value in os.environ.items() if name.startswith("SERVER_JOBS_")}
    assert ours == {
        "SERVER_JOBS_DATABASE_URL": url,
        "SERVER_JOBS_APP": "shop.jobs:registry",
        "SERVER_JOBS_QUEUE": "'default', 'mail'",
        "SERVER_JOBS_LEASE": "60",
    }
    assert os.environ["OTHERS"] == " kept\n"
