"""The figures in the answers are those of the code."""

import inspect

from server_jobs import Job, define_job
from server_jobs.database.postgres import PostgresDatabase
from server_jobs.worker import WorkerConfig
from tests.support.pages.markdown import ROOT

TEXT = " ".join((ROOT / "docs" / "faq.md").read_text(encoding="utf-8").split())
DAY = 86_400


def test_defaults_of_the_worker_are_the_codes() -> None:
    config = WorkerConfig()

    assert f"`--grace` ({config.grace:.0f} seconds)" in TEXT
    assert f"`--lease` ({config.lease:.0f} seconds)" in TEXT
    assert f"`--poll-interval` ({config.poll_interval:.0f} second)" in TEXT
    assert config.keep_completed == 7 * DAY
    assert config.keep_failed == config.keep_cancelled == 30 * DAY
    assert "completed jobs after 7 days, failed and cancelled ones after 30" in TEXT
    assert config.max_releases == 10
    assert "after ten times in a row it fails" in TEXT


def test_the_pools_default_is_the_codes() -> None:
    size = inspect.signature(PostgresDatabase).parameters["pool_size"].default

    assert f"at most `pool_size` + 1, that is {size + 1}" in TEXT
    assert f"at most `pool_size` ({size})" in TEXT


def test_attempts_by_default_are_the_codes() -> None:
    @define_job
    async def nothing(params: None) -> None: ...

    assert isinstance(nothing, Job)
    assert f"{nothing.definition.max_attempts} by default" in TEXT
