from pathlib import Path

import pytest

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.failures import report
from server_jobs.errors import InvalidAppError
from tests.support.cli import process_state  # noqa: F401 - a fixture
from tests.support.cli_app import registry

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory; modules whose names begin with ``users_`` are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(app: str | None) -> InvalidAppError:
    with pytest.raises(InvalidAppError) as caught:
        load_registry(app)
    return caught.value


def test_app_is_looked_for_in_the_current_directory(here: Path) -> None:
    package = here / "users_package"
    package.mkdir()
    (package / "jobs.py").write_text("from tests.support.cli_app import registry")

    assert load_registry("users_package.jobs:registry").get_names() == registry.get_names()


def test_registry_may_be_an_attribute_of_an_attribute(here: Path) -> None:
    (here / "users_app.py").write_text(
        "from tests.support.cli_app import registry\nclass app:\n    jobs = registry"
    )

    assert load_registry("users_app:app.jobs").has("Charge")


@pytest.mark.parametrize("app", [None, ""])
def test_no_app_at_all(app: str | None) -> None:
    assert "SERVER_JOBS_APP" in str(refusal(app))


@pytest.mark.parametrize(
    ("app", "suggestion"),
    [
        ("users_app", "--app users_app:registry"),
        ("users_app:", "--app users_app:registry"),
        (":jobs", "--app myapp.jobs:jobs"),
        ("users/app.py:registry", "--app users.app:registry"),
        ("./users_app.py:registry", "--app users_app:registry"),
    ],
)
def test_wrong_form_is_answered_with_the_right_one(app: str, suggestion: str) -> None:
    assert suggestion in str(refusal(app))


@pytest.mark.parametrize("app", ["users_missing:registry", "users_missing.jobs:registry"])
def test_missing_module_is_named_without_a_traceback(
    app: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(app)
    report(error)

    assert "No module named 'users_missing'" in str(error)
    assert "Traceback" not in capsys.readouterr().err


def test_missing_submodule_is_named(here: Path) -> None:
    (here / "users_app.py").touch()

    assert "users_app.jobs" in str(refusal("users_app.jobs:registry"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_error_inside_the_module_is_shown_with_its_own_traceback(
    here: Path, code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "users_app.py").write_text(code)

    report(refusal("users_app:registry"))

    shown = capsys.readouterr().err
    assert said in shown
    assert 'users_app.py", line 1' in shown
    # What led there is no news to the app's author.
    assert "importlib" not in shown
    assert "loading.py" not in shown


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("registri", ["has no 'registri'", "did you mean 'registry'?", "registry, no_jobs"]),
        ("not_a_registry", ["is a dict, not a JobRegistry", "registry, no_jobs"]),
        ("charge", ["is a Job, not a JobRegistry"]),
        ("registry.jobs", ["has no 'registry.jobs'"]),
        ("no_jobs", ["has no jobs", "registry.register(job)"]),
    ],
)
def test_attribute_that_is_no_registry_with_jobs(attribute: str, said: list[str]) -> None:
    message = str(refusal(f"tests.support.cli_app:{attribute}"))

    assert all(words in message for words in said), message


def test_module_without_any_registry_is_told_how_to_make_one(here: Path) -> None:
    (here / "users_app.py").touch()

    assert "registry = create_job_registry()" in str(refusal("users_app:registry"))
