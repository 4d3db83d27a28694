"""What an operator says that can't work as it was set up."""

import json
from pathlib import Path

from tests.e2e.support.account import kubeconfig_of
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import until
from tests.support.servers.postgres import temporary_database


def test_a_sqlite_file_is_refused_at_start(namespace: Kubectl, tmp_path: Path) -> None:
    process = OperatorProcess(tmp_path, namespace.namespace, f"sqlite:///{tmp_path}/jobs.db")

    process.start()

    assert process.wait() != 0
    assert "a SQLite file can't serve a cluster" in process.log


async def test_a_database_without_the_tables_is_waited_for(
    namespace: Kubectl, server_url: str, tmp_path: Path
) -> None:
    with temporary_database(server_url) as empty:
        process = OperatorProcess(tmp_path, namespace.namespace, empty)
        with process.running():
            await until(lambda: "migrate" in process.log)
            assert process.probe("readyz") == 503
            assert process.probe("healthz") == 200
            assert process.alive


async def test_a_database_that_is_not_there_is_waited_for(
    namespace: Kubectl, tmp_path: Path
) -> None:
    nowhere = "postgresql://app:hidden-word@127.0.0.1:1/app"
    process = OperatorProcess(tmp_path, namespace.namespace, nowhere)
    with process.running():
        await until(lambda: "the database can't be used, waiting for it" in process.log)
        assert process.probe("readyz") == 503
        assert process.probe("healthz") == 200
        assert process.alive
        assert "hidden-word" not in process.log


async def test_a_missing_permission_is_named(
    namespace: Kubectl, server_url: str, database: object, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_of(namespace, "default")))
    process = OperatorProcess(tmp_path, namespace.namespace, server_url, kubeconfig)
    with process.running():
        await until(lambda: 'cannot get resource \\"leases\\"' in process.log)
        assert process.probe("readyz") == 503
        assert process.alive
