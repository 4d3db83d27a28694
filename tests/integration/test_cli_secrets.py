"""No command, log line or stored error shows a secret of a job's params."""

import json
from pathlib import Path

import pytest

from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

SECRET = "4111-1111"

USERS_APP = """
import logging

from pydantic import BaseModel, SecretStr
from server_jobs import CancelJob, RetryLater, RetryPolicy, create_job_registry, define_job


class Card(BaseModel):
    number: SecretStr
    how: str = "raise"


class Inner(BaseModel):
    amount: int


@define_job(name="Pay", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
async def pay(params: Card) -> str:
    number = params.number.get_secret_value()
    logging.getLogger("users.app").warning("paying with %r", params)
    match params.how:
        case "raise":
            raise ConnectionError(f"https://bank.example.com/?card={number} answers 500")
        case "cause":
            try:
                raise KeyError(number)
            except KeyError as error:
                raise RuntimeError("no such card") from error
        case "group":
            raise ExceptionGroup("two cards", [ValueError(number), KeyError(number)])
        case "validation":
            Inner.model_validate({"amount": number})
        case "cancel":
            raise CancelJob(f"card {number} is blocked")
        case "later":
            raise RetryLater(3_600, f"card {number} is busy")
    return "paid"


registry = create_job_registry().register(pay)
"""

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users_secrets.py").write_text(USERS_APP)
    cli = Cli(app="users_secrets:registry", database_url=sqlite_url)
    cli.ok("migrate")
    return cli


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize(
    "how", ["raise", "cause", "group", "validation", "cancel", "later", "return"]
)
def test_whatever_a_handler_raises_its_params_secrets_stay_hidden(
    cli: Cli, how: str, log_format: str
) -> None:
    params = json.dumps({"number": SECRET, "how": how})
    job_id = cli.ok("enqueue", "Pay", "--params-json", "-", stdin=params)

    worked = cli("worker", "--drain", "--log-format", log_format, "--log-level", "debug")
    said = worked.output + "".join(
        cli.ok(*command, *form)
        for command in (("list",), ("show", job_id), ("stats",))
        for form in ((), ("--json",))
    )

    assert "Pay" in worked.stderr
    assert SECRET not in said
    assert "**********" in cli.ok("show", job_id)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_lines_of_a_secret_stay_hidden_where_a_traceback_indents_them(
    cli: Cli, log_format: str
) -> None:
    number = "first-4111\nsecond-1111"
    params = json.dumps({"number": number, "how": "group"})
    job_id = cli.ok("enqueue", "Pay", "--params-json", "-", stdin=params)

    said = cli("worker", "--drain", "--log-format", log_format).output + cli.ok("show", job_id)

    assert "two cards" in said
    assert "first-4111" not in said
    assert "second-1111" not in said


def test_error_of_a_failed_job_keeps_everything_else(cli: Cli) -> None:
    job_id = cli.ok("enqueue", "Pay", "--param", f"number={SECRET}")

    cli("worker", "--drain")
    job = cli.json("show", job_id)

    assert job["error"] == "https://bank.example.com/?card=********** answers 500"
    assert "users_secrets.py" in job["errors"][0]["traceback"]
    assert "card=**********" in job["errors"][0]["traceback"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--param", f"number:={SECRET}"),
        ("--param", f"number={SECRET}", "--param", "how:=1"),
        ("--param", f"numbr={SECRET}"),
        ("--params-json", json.dumps({"number": [SECRET]})),
        ("--params-json", f'{{"number": "{SECRET}"'),
        ("--params-json", json.dumps({"how": SECRET})),
    ],
)
@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_refused_params_are_not_quoted(
    cli: Cli, arguments: tuple[str, ...], debug: tuple[str, ...]
) -> None:
    result = cli(*debug, "enqueue", "Pay", *arguments)

    assert result.exit_code == 2
    assert SECRET not in result.output
