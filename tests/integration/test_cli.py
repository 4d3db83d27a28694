"""The commands, run in this process, on real databases."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

import server_jobs
from server_jobs import connect
from server_jobs.cli.app import Commands
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import Failed
from server_jobs.records.rows import Claim
from server_jobs.store.store import Store
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

APP = "tests.support.cli_app:registry"
SECRET = "4111-1111"
COMMANDS = sorted(Commands.listed.keys() - {"schedule"})

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    """On a migrated SQLite file."""
    cli = Cli(app=APP, database_url=sqlite_url)
    cli.ok("migrate")
    return cli


def enqueue(cli: Cli, number: int, *options: str) -> str:
    params = json.dumps({"number": number, "card": SECRET})
    return cli.ok("enqueue", "Charge", "--params-json", params, *options)


# ── the tables ───────────────────────────────────────────────────────────────────────────────


def test_migrate_says_which_steps_it_took_and_then_that_none_are_left(database_url: str) -> None:
    cli = Cli(database_url=database_url)

    first, second = cli.ok("migrate"), cli.ok("migrate")

    assert first.splitlines()[:3] == ["applied 0001", "applied 0002", "applied 0003"]
    assert second == "nothing to do: the tables are up to date"


def test_migrate_writes_a_file_for_each_step(cli: Cli, tmp_path: Path) -> None:
    said = cli.ok("migrate", "--sql", "--dialect", "sqlite", "--into", str(tmp_path))

    names = sorted(path.name for path in tmp_path.glob("*.sql"))
    assert names[0] == "0001_server_jobs.sql"
    assert said.splitlines() == [f"wrote {tmp_path / name}" for name in names]
    assert "CREATE TABLE jobs" in (tmp_path / names[0]).read_text()


def test_files_of_steps_go_with_sql(cli: Cli, tmp_path: Path) -> None:
    result = cli("migrate", "--into", str(tmp_path))

    assert result.exit_code == 2
    assert "--sql" in result.stderr


@pytest.mark.parametrize(
    ("dialect", "type_of_params"), [("sqlite", "params TEXT"), ("postgresql", "params JSONB")]
)
@pytest.mark.parametrize("command", [("migrate", "--sql"), ("schema",)])
def test_sql_is_written_in_the_dialect_that_is_asked_for(
    command: tuple[str, ...], dialect: str, type_of_params: str, tmp_path: Path
) -> None:
    untouched = tmp_path / "untouched.db"

    sql = Cli(database_url=f"sqlite:///{untouched}").ok(*command, "--dialect", dialect)

    assert type_of_params in sql
    assert not untouched.exists()


@pytest.mark.parametrize("command", [("migrate", "--sql"), ("schema",)])
def test_sql_for_sqlite_can_be_run_as_it_is_printed(command: tuple[str, ...]) -> None:
    connection = sqlite3.connect(":memory:")

    connection.executescript(Cli(database_url="sqlite:///any.db").ok(*command))

    assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    connection.close()


def test_sql_is_written_in_the_databases_own_dialect_by_default() -> None:
    cli = Cli(database_url="postgresql://user:password@nowhere.invalid/name")

    assert "JSONB" in cli.ok("schema")
    assert "JSONB" in cli.ok("migrate", "--sql")


def test_dialect_without_sql_is_refused_for_it_would_do_nothing(sqlite_url: str) -> None:
    result = Cli(database_url=sqlite_url)("migrate", "--dialect", "postgresql")

    assert result.exit_code == 2
    assert "--sql" in result.stderr
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


# ── a job's way ──────────────────────────────────────────────────────────────────────────────


def test_job_is_enqueued_executed_and_shown(database_url: str) -> None:
    cli = Cli(app=APP, database_url=database_url)
    cli.ok("migrate")

    job_id = enqueue(cli, 7)
    assert cli.json("show", job_id)["status"] == "pending"
    cli.ok("worker", "--drain")
    document = cli.json("show", job_id)

    assert document["status"] == "completed"
    assert document["result"]["number"] == 7
    assert document["completed_at"].endswith("Z")
    assert "completed" in cli.ok("list", "--status", "completed", "--name", "Charge")


def test_handler_enqueues_where_its_worker_works(cli: Cli) -> None:
    cli.ok("enqueue", "ChargeLater", "--params-json", '{"number": 7}')

    cli.ok("worker", "--drain")

    names = {job["job_name"]: job["status"] for job in cli.json("list")}
    assert names == {"ChargeLater": "completed", "Charge": "completed"}


def test_worker_serves_only_the_queues_that_it_is_told_to(cli: Cli) -> None:
    for number, queue in enumerate(("one", "two", "three", "other")):
        enqueue(cli, number, "--queue", queue)

    cli.ok("worker", "--drain", "--queue", "one,two", "--queue", "three")

    done = {job["queue"] for job in cli.json("list", "--status", "completed")}
    assert done == {"one", "two", "three"}


def test_worker_is_set_by_the_environment(cli: Cli) -> None:
    enqueue(cli, 1, "--queue", "mail")
    enqueue(cli, 2, "--queue", "default")
    by_environment = Cli(**cli.settings, queue="default,mail", drain="true", log_level="error")

    result = by_environment("worker")

    assert result.exit_code == 0
    assert result.stderr == ""
    assert len(cli.json("list", "--status", "completed")) == 2


@pytest.mark.parametrize(
    "setting", ["concurrency", "lease", "poll_interval", "grace", "log_format"]
)
def test_setting_out_of_range_is_named(cli: Cli, setting: str) -> None:
    result = Cli(**cli.settings, **{setting: "-1"})("worker", "--drain")

    assert result.exit_code == 2
    assert setting in result.stderr.lower().replace("-", "_")


# ── enqueue ──────────────────────────────────────────────────────────────────────────────────


def test_options_of_enqueue_are_in_the_record(cli: Cli) -> None:
    job_id = enqueue(
        cli, 1, "--queue", "mail", "--priority", "5", "--delay", "3600", "--unique-key", "k",
        "--correlation-id", "c", "--max-attempts", "9",
    )  # fmt: skip

    job = cli.json("show", job_id)
    assert job["queue"] == "mail"
    assert job["priority"] == 5
    assert job["unique_key"] == "k"
    assert job["correlation_id"] == "c"
    assert job["max_attempts"] == 9
    assert job["scheduled_for"] > job["created_at"]


def test_params_are_read_from_standard_input(cli: Cli) -> None:
    job_id = cli.ok("enqueue", "Charge", "--params-json", "-", stdin='{"number": 42}\n')

    assert cli.json("show", job_id)["params"]["number"] == 42


def test_second_job_with_a_live_unique_key_prints_the_firsts_id(cli: Cli) -> None:
    assert enqueue(cli, 1, "--unique-key", "k") == enqueue(cli, 2, "--unique-key", "k")


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (("Charge", "--params-json", '{"number": "x"}'), ["Charge", "number"], 2),
        (("Charge",), ["Charge", "number"], 2),
        (("Charge", "--params-json", '{"number"'), ["--params-json", "isn't JSON"], 2),
        (("Charg",), ["'Charg'", "did you mean 'Charge'?"], 2),
        (("Charge", "--params-json", '{"number": 1}', "--priority", "99999"), ["priority"], 2),
        (("Charge", "--params-json", '{"number": 1}', "--delay", "4000d"), ["delay"], 2),
    ],
)
def test_wrong_job_is_refused_and_nothing_written(
    cli: Cli, arguments: tuple[str, ...], said: list[str], status: int
) -> None:
    result = cli("enqueue", *arguments)

    assert result.exit_code == status
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert all(words in result.stderr for words in said)
    assert "Traceback" not in result.stderr
    assert cli.json("list") == []


@pytest.mark.parametrize("queue", ["a,b", "two words", "", "q" * 256])
def test_job_goes_to_no_queue_that_a_list_cannot_name(cli: Cli, queue: str) -> None:
    result = cli("enqueue", "Charge", "--param", "number=1", "--queue", queue)

    assert result.exit_code == 2
    assert f"queue={queue!r:.100} isn't text of 1 to 255 bytes" in result.stderr
    assert cli.json("list") == []


def test_enqueue_without_an_app_says_how_to_name_it(sqlite_url: str) -> None:
    result = Cli(database_url=sqlite_url)("enqueue", "Charge")

    assert result.exit_code == 2
    assert "--app module:registry" in result.stderr
    assert "SERVER_JOBS_APP" in result.stderr


# ── list and show ────────────────────────────────────────────────────────────────────────────


def test_list_pages_from_the_newest_to_the_oldest(cli: Cli) -> None:
    ids = [enqueue(cli, number) for number in range(3)]

    first = cli("list", "--limit", "2")
    second = cli("list", "--limit", "2", "--before", ids[1])

    assert [line.split()[0] for line in first.stdout.splitlines()] == ["ID", ids[2], ids[1]]
    assert f"--before {ids[1]}" in first.stderr
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["ID", ids[0]]
    assert second.stderr == ""


@pytest.mark.parametrize(
    ("option", "value"),
    [("--queue", "mail"), ("--correlation-id", "c"), ("--name", "Sleep"), ("--status", "Failed")],
)
def test_list_shows_only_what_is_asked_for(cli: Cli, option: str, value: str) -> None:
    enqueue(cli, 13, "--max-attempts", "1")
    cli.ok("worker", "--drain")
    enqueue(cli, 1, "--queue", "mail")
    enqueue(cli, 1, "--correlation-id", "c")
    cli.ok("enqueue", "Sleep", "--params-json", '{"seconds": 0}')

    (job,) = cli.json("list", option, value)

    column = {"--name": "job_name"}.get(option, option.removeprefix("--").replace("-", "_"))
    assert job[column] == value.lower() or job[column] == value


def test_list_of_nothing_leaves_standard_output_empty(cli: Cli) -> None:
    result = cli("list")

    assert result.stdout == ""
    assert result.stderr == "no jobs\n"


@pytest.mark.parametrize("command", ["list", "show"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_secrets_are_masked(cli: Cli, command: str, form: tuple[str, ...]) -> None:
    job_id = enqueue(cli, 1)
    cli.ok("worker", "--drain")
    arguments = (command, job_id) if command == "show" else (command,)

    shown = cli.ok(*arguments, *form)

    assert SECRET not in shown
    if command == "show" or form:
        # In the params and in the result.
        assert shown.count("**********") == 2


def test_beginning_of_an_id_suffices(cli: Cli) -> None:
    job_id = enqueue(cli, 1)

    assert job_id in cli.ok("show", job_id[:10].upper())


def test_ambiguous_beginning_of_an_id_lists_what_it_may_mean(cli: Cli) -> None:
    ids = [enqueue(cli, number) for number in range(2)]

    result = cli("show", ids[0][:6])

    assert result.exit_code == 1
    assert all(job_id in result.stderr for job_id in ids)


@pytest.mark.parametrize("job_id", ["ffffffff", "%", ""])
def test_id_of_no_job_is_an_error(cli: Cli, job_id: str) -> None:
    enqueue(cli, 1)

    result = cli("show", job_id)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stdout == ""


def test_show_says_where_a_failed_job_broke(cli: Cli) -> None:
    job_id = enqueue(cli, 13, "--max-attempts", "1")
    cli.ok("worker", "--drain")

    shown = cli.ok("show", job_id)

    assert "attempts      1 of 1" in shown
    assert 'raise ValueError("no' in shown
    assert "cli_app.py" in shown


def test_jobs_words_cannot_command_the_terminal(cli: Cli) -> None:
    job_id = enqueue(cli, 13, "--max-attempts", "1")
    cli.ok("worker", "--drain")

    assert "thirteens" in cli.ok("list")
    assert "\x1b" not in cli.ok("list") + cli.ok("show", job_id)


def test_show_says_who_holds_a_running_job_and_how_far_it_is(cli: Cli) -> None:
    job_id = enqueue(cli, 1)

    async def claim() -> None:
        database = connect(cli.settings["database_url"])
        store = Store(database)
        claimed = await store.claim_one(job_id, worker_id="worker-1", lease_seconds=60)
        assert claimed is not None
        await store.report_progress({Claim(job_id, claimed.fence): (50.0, "half-way")})
        await database.close()

    asyncio.run(claim())
    shown = cli.ok("show", job_id)

    assert "worker        worker-1" in shown
    assert "lease until   20" in shown
    assert "progress      50 %: half-way" in shown
    assert "50 % half-way" in cli.ok("list")


def test_running_jobs_note_is_its_progress_not_an_earlier_attempts_error(cli: Cli) -> None:
    job_id = enqueue(cli, 13)

    async def fail_once_and_run_again() -> None:
        database = connect(cli.settings["database_url"])
        store = Store(database)
        first = await store.claim_one(job_id, worker_id="worker-1", lease_seconds=60)
        assert first is not None
        error = AttemptError(1, None, "ValueError", "no thirteens", "", "worker-1")
        await store.settle({Claim(job_id, first.fence): Failed(error)})
        second = await store.claim_one(job_id, worker_id="worker-1", lease_seconds=60)
        assert second is not None
        await store.report_progress({Claim(job_id, second.fence): (100 / 12, "page 1")})
        await database.close()

    asyncio.run(fail_once_and_run_again())
    listed, shown = cli.ok("list"), cli.ok("show", job_id)

    assert "8 % page 1" in listed
    assert "thirteens" not in listed
    assert "earlier error no thirteens" in shown
    assert "\nerror " not in shown
    assert "progress      8 %: page 1" in shown


# ── which database ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("show", "0"),
        ("enqueue", "Charge", "--params-json", '{"number": 1}'),
        ("worker", "--drain"),
    ],
)
def test_command_on_a_file_that_is_not_there_makes_none(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    result = Cli(app=APP, database_url=f"sqlite:///{tmp_path / 'other.db'}")(*command)

    assert result.exit_code == 1
    assert "server-jobs migrate" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_worker_refuses_a_database_without_tables(postgres_url: str) -> None:
    result = Cli(app=APP, database_url=postgres_url)("worker", "--drain")

    assert result.exit_code == 1
    assert "server-jobs migrate" in result.stderr
    assert "Traceback" not in result.stderr


def test_table_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE jobs (title TEXT)")
    connection.close()
    cli = Cli(database_url=f"sqlite:///{file}")

    for command in ("migrate", "list"):
        result = cli(command)
        assert result.exit_code == 1
        assert "server-jobs didn't make" in result.stderr


@pytest.mark.parametrize(
    "url", ["sqlite://", "mysql://host/name", "nonsense", "postgresql://h:x/d"]
)
@pytest.mark.parametrize("command", ["migrate", "list"])
def test_database_that_cannot_be_used_is_a_usage_error(url: str, command: str) -> None:
    result = Cli(database_url=url)(command)

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")


USERS_APP = """
from server_jobs import connect, create_job_registry, define_job
from tests.support.cli_app import Order

@define_job(name="Charge")
async def charge(params: Order) -> int:
    return params.number

registry = create_job_registry().register(charge).bind(connect("sqlite:///apps.db"))
"""


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with an app in it that has bound a database, and another database."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users_app.py").write_text(USERS_APP)
    for name in ("apps", "named"):
        Cli(database_url=f"sqlite:///{name}.db").ok("migrate")
    return tmp_path


def test_apps_own_database_is_used_where_none_is_named(users_folder: Path) -> None:
    cli = Cli(app="users_app:registry")
    job_id = enqueue(cli, 1)
    cli.ok("worker", "--drain")

    assert Cli(database_url="sqlite:///apps.db").json("show", job_id)["status"] == "completed"
    assert {path.name for path in users_folder.glob("*.db")} == {"apps.db", "named.db"}


@pytest.mark.parametrize("where", ["registry", "job"])
def test_named_database_goes_before_the_apps_own(users_folder: Path, where: str) -> None:
    if where == "job":
        with (users_folder / "users_app.py").open("a") as app:
            app.write('charge.set_database(connect("sqlite:///apps.db"))\n')
    cli = Cli(app="users_app:registry", database_url="sqlite:///named.db")
    job_id = enqueue(cli, 1)
    cli.ok("worker", "--drain")

    assert cli.json("show", job_id)["status"] == "completed"
    assert Cli(database_url="sqlite:///apps.db").json("list") == []


# ── what is said, and where ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate",),
        ("list",),
        ("--debug", "list"),
        ("worker", "--drain"),
        ("list", "URL"),
        ("URL",),
        ("list", "--before"),
        ("list", "--limit", "URL"),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:1/name",
        "postgresql://user@127.0.0.1:1/name?password=hunter2",
        "postgresql://user@127.0.0.1:1/name?nonsense=1&sslpassword=hunter2",
        "postgresql://user:hunter2@127.0.0.1:port/name",
    ],
)
def test_passwords_are_never_shown(arguments: tuple[str, ...], url: str) -> None:
    arguments = tuple(url if argument == "URL" else argument for argument in arguments)

    result = Cli(app=APP, database_url=url)(*arguments)

    assert result.exit_code != 0
    assert result.stderr
    assert "hunter2" not in result.output


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    cli = Cli(database_url=f"sqlite:///{tmp_path / 'other.db'}")

    assert "Traceback (most recent call last)" in cli("--debug", "list").stderr
    assert "Traceback (most recent call last)" in Cli(**cli.settings, debug="1")("list").stderr
    assert "Traceback" not in cli("list").stderr


def test_workers_log_is_json_on_stderr_and_ends_with_a_summary(cli: Cli) -> None:
    job_id = enqueue(cli, 1)
    enqueue(cli, 13, "--max-attempts", "1")

    result = cli("worker", "--drain")

    assert result.stdout == ""
    start, *between, summary = map(json.loads, result.stderr.splitlines())
    assert start["event"].startswith("worker local/")
    assert start["level"] == "info"
    assert summary["event"] == "worker stopped"
    assert (summary["completed"], summary["failed_attempts"]) == (1, 1)
    line, ended = (line for line in between if line.get("job_id") == job_id)
    assert (ended["logger"], ended["attempt"]) == ("server_jobs.worker", 1)
    assert "completed in" in ended["event"]
    assert line["event"] == "charging"
    assert line["logger"] == "server_jobs.handler"
    assert line["job_name"] == "Charge"
    assert line["attempt"] == 1
    assert line["data"]["name"] == "reserved"


def test_workers_log_for_people_has_no_colours_outside_a_terminal(cli: Cli) -> None:
    enqueue(cli, 1)

    result = cli("worker", "--drain", "--log-format", "console")

    assert "charging" in result.stderr
    assert "\x1b" not in result.stderr


def test_log_level_leaves_out_what_matters_less(cli: Cli) -> None:
    enqueue(cli, 1)

    assert cli("worker", "--drain", "--log-level", "warning").stderr == ""


def test_version_is_printed() -> None:
    assert Cli().ok("--version") == f"server-jobs {server_jobs.__version__}"


def test_help_teaches_by_examples_and_lists_exit_statuses() -> None:
    shown = Cli().ok("--help")

    lines = [line.strip() for line in shown.splitlines()]
    assert "export SERVER_JOBS_APP=myapp.jobs:registry" in lines
    assert any(line.startswith("2  used wrongly") for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example_on_its_own_line(command: str) -> None:
    shown = Cli().ok(command, "--help")

    assert any(line.strip().startswith(f"server-jobs {command}") for line in shown.splitlines())
