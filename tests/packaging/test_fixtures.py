import sqlite3
from pathlib import Path

import psycopg
import pytest

from tests.support.servers.postgres import temporary_database

SKIPPING_TESTS = """
import pytest

@pytest.mark.skip(reason="no such thing here")
def test_plain_skip(): pass

@pytest.mark.may_skip_in_ci(reason="needs a cluster")
def test_exempted_skip(): pytest.skip("no cluster")

@pytest.mark.xfail(reason="known")
def test_expected_failure(): assert False
"""


def test_database_url_is_an_empty_database(database_url: str) -> None:
    if database_url.startswith("sqlite:///"):
        path = Path(database_url.removeprefix("sqlite:///"))
        assert path.is_absolute()
        assert not path.exists()
        sqlite3.connect(path).close()
    else:
        with psycopg.connect(database_url) as connection:
            query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            assert connection.execute(query).fetchone() == (0,)


def test_temporary_database_is_dropped_under_an_open_connection(postgres_server: str) -> None:
    with temporary_database(postgres_server) as url:
        left_open = psycopg.connect(url)

    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")
    left_open.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


@pytest.fixture
def skipping_suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(
        f"""
        [pytest]
        pythonpath = {Path(__file__).resolve().parents[2]}
        markers = may_skip_in_ci
        """
    )
    pytester.makeconftest("pytest_plugins = ['tests.support.skips']")
    pytester.makepyfile(SKIPPING_TESTS)
    return pytester


def test_skip_is_a_failure_in_ci(
    skipping_suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")

    result = skipping_suite.runpytest_subprocess()

    # pytest calls what goes wrong before the test's body an error.
    result.assert_outcomes(errors=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*no such thing here*", "*With CI=true a skip is a failure*"])


def test_module_that_skips_itself_is_a_failure_in_ci(
    skipping_suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    skipping_suite.makepyfile(test_module="import pytest\npytest.importorskip('no_such_module')")

    result = skipping_suite.runpytest_subprocess()

    assert result.ret != pytest.ExitCode.OK
    result.assert_outcomes(errors=1)


def test_skip_is_a_skip_elsewhere(
    skipping_suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)

    result = skipping_suite.runpytest_subprocess()

    result.assert_outcomes(skipped=2, xfailed=1)
