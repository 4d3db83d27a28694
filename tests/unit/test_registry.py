"""Which jobs there are, and which database they use."""

from pathlib import Path
from typing import Any

import pytest

from server_jobs import Job, connect, create_job_registry, define_job
from server_jobs.errors import DatabaseNotConfiguredError, DuplicateJobError, UnknownJobError

URL = "SERVER_JOBS_DATABASE_URL"


def job(name: str) -> Job[Any, Any]:
    @define_job(name=name)
    async def handler(params: None) -> None: ...

    return handler


def test_registering_chains_and_keeps_the_order() -> None:
    mail, data = job("SendEmail"), job("ProcessData")
    registry = create_job_registry().register(mail).register(data)

    assert registry.get_names() == ["SendEmail", "ProcessData"]
    assert len(registry) == 2
    assert registry.get("SendEmail") is mail
    assert registry.has("ProcessData")
    assert not registry.has("processdata")
    assert repr(registry) == "JobRegistry(SendEmail, ProcessData)"


def test_another_job_of_the_same_name_is_refused() -> None:
    first = job("SendEmail")
    registry = create_job_registry().register(first)

    with pytest.raises(DuplicateJobError, match="already has a job 'SendEmail'; give one of them"):
        registry.register(job("SendEmail"))
    assert registry.get("SendEmail") is first


def test_the_same_job_twice_is_the_same_job() -> None:
    mail = job("SendEmail")

    assert create_job_registry().register(mail).register(mail).get_names() == ["SendEmail"]


def test_unknown_name_is_met_with_the_nearest_one() -> None:
    registry = create_job_registry().register(job("SendEmail")).register(job("ProcessData"))

    with pytest.raises(UnknownJobError) as caught:
        registry.get("sendEmail")
    assert str(caught.value) == (
        "there is no job 'sendEmail' in the registry; did you mean 'SendEmail'?"
        " (it has: SendEmail, ProcessData)"
    )
    with pytest.raises(UnknownJobError, match=r"no job 'X' in the registry \(it has: none\)"):
        create_job_registry().get("X")


def test_what_is_no_job_is_refused() -> None:
    wrong: Any = lambda params: None  # noqa: E731 - a handler that nobody made a job
    with pytest.raises(TypeError, match="takes a job made by define_job"):
        create_job_registry().register(wrong)


def test_registries_know_nothing_of_each_other() -> None:
    mail = job("SendEmail")
    create_job_registry().register(mail)

    assert not create_job_registry().has("SendEmail")


# ── the database ─────────────────────────────────────────────────────────────────────────────


def test_without_a_database_all_three_ways_to_one_are_named() -> None:
    with pytest.raises(DatabaseNotConfiguredError) as caught:
        job("SendEmail").database  # noqa: B018

    message = str(caught.value)
    assert message.startswith("SendEmail has no database")
    for way in ("registry.bind(", "job.set_database(", URL):
        assert way in message


def test_what_is_set_on_a_job_goes_before_its_registrys_and_that_before_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(URL, f"sqlite:///{tmp_path / 'environment.db'}")
    bound, own = connect("sqlite://"), connect("sqlite://")
    mail = job("SendEmail")
    registry = create_job_registry().register(mail)

    assert "environment.db" in repr(mail.database)
    registry.bind(bound)
    assert mail.database is bound
    mail.set_database(own)
    assert mail.database is own
    mail.set_database(None)
    assert mail.database is bound


def test_binding_reaches_jobs_that_are_registered_later() -> None:
    database = connect("sqlite://")
    registry = create_job_registry().bind(database)
    mail = job("SendEmail")
    registry.register(mail)

    assert mail.database is database


def test_binding_again_replaces() -> None:
    first, second = connect("sqlite://"), connect("sqlite://")
    mail = job("SendEmail")
    create_job_registry().register(mail).bind(first).bind(second)

    assert mail.database is second


def test_registry_that_a_job_joined_last_goes_first() -> None:
    first, second = connect("sqlite://"), connect("sqlite://")
    mail = job("SendEmail")
    create_job_registry().bind(first).register(mail)
    create_job_registry().bind(second).register(mail)

    assert mail.database is second


def test_jobs_of_one_registry_share_the_environments_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URL, "sqlite://")
    mail, data = job("SendEmail"), job("ProcessData")
    create_job_registry().register(mail).register(data)

    assert mail.database is data.database
    assert mail.database is mail.database


def test_job_without_a_registry_uses_the_environments_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URL, "sqlite://")
    mail = job("SendEmail")

    assert mail.database is mail.database


def test_any_registrys_binding_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job may be in two registries, of which only the second is bound."""
    monkeypatch.setenv(URL, "sqlite://")
    database = connect("sqlite://")
    mail = job("SendEmail")
    create_job_registry().register(mail)
    create_job_registry().register(mail).bind(database)

    assert mail.database is database
