"""A worker's own id: what no row could hold is refused where it is set."""

import socket

import pytest

from server_jobs.database import connect
from server_jobs.errors import ConfigurationError
from server_jobs.execution.lease_keeper import LeaseKeeper
from server_jobs.launches.runner import RunnerConfig
from server_jobs.records.ids import new_worker_id
from server_jobs.records.names import KEY
from server_jobs.store.store import Store

REFUSED = pytest.mark.parametrize("worker_id", ["", "w" * 1_001, "host\udce9", "a\0b"], ids=ascii)


@REFUSED
def test_runner_refuses_an_id_that_no_row_could_hold(worker_id: str) -> None:
    with pytest.raises(ConfigurationError, match=r"worker_id is .*1,000 bytes"):
        RunnerConfig(worker_id)


@REFUSED
async def test_lease_keeper_refuses_it_too(worker_id: str) -> None:
    store = Store(connect("sqlite:///unused.db"))
    with pytest.raises(ConfigurationError, match="worker_id is"):
        LeaseKeeper(store, worker_id=worker_id, lease_seconds=60)


def test_own_id_is_one_whatever_the_host_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket, "gethostname", lambda: b"caf\xe9".decode("utf-8", "surrogateescape")
    )

    worker_id = new_worker_id("local")

    assert worker_id.startswith("local/caf?/")
    assert KEY.allows(worker_id)
