"""A real cluster, a real PostgreSQL that its pods reach, and an operator between them.

These tests know a cluster by KUBECONFIG alone, and images by their names; `make e2e` finds or
makes both, and says which address of this machine pods can reach.
"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.e2e.app.jobs import gate, registry, unknown
from tests.e2e.support.completions import Completions
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.support.servers.postgres import SETTINGS, PostgresServer, killable_server

IMAGE = "SERVER_JOBS_E2E_IMAGE"
OPERATOR_IMAGE = "SERVER_JOBS_E2E_OPERATOR_IMAGE"
HOST = "SERVER_JOBS_E2E_HOST"
PORT = "15433"


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster: `make e2e` finds or makes one")
    return Kubectl("default")


@pytest.fixture(scope="session")
def image() -> str:
    return os.environ.get(IMAGE, "localhost/server-jobs-e2e:test")


@pytest.fixture(scope="session")
def operator_image() -> str:
    return os.environ.get(OPERATOR_IMAGE, "localhost/server-jobs-operator:test")


@pytest.fixture(scope="session")
def host() -> str:
    """An address of this machine that pods reach."""
    host = os.environ.get(HOST)
    if not host:
        pytest.skip(f"{HOST} isn't set: pods need an address of this machine; `make e2e` knows it")
    return host


@pytest.fixture(scope="session")
def postgres(kubectl: Kubectl, host: str) -> Iterator[PostgresServer]:
    """A server that listens there."""
    access = Path("/tmp") / f"server-jobs-e2e-{os.getpid()}.hba"
    access.write_text("local all all trust\nhost all all 0.0.0.0/0 trust\n")
    access.chmod(0o644)
    # `helm test` lets `server-jobs doctor` judge it.
    safe = dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "on")
    where = {"listen_addresses": host, "port": PORT, "hba_file": str(access)}
    settings = {**SETTINGS, **safe, **where}
    try:
        with killable_server(settings) as server:
            yield server
    finally:
        access.unlink()


@pytest.fixture(scope="session")
def shared_url(postgres: PostgresServer, host: str) -> str:
    return f"postgresql://postgres@{host}:{PORT}/postgres"


@pytest.fixture
def server_url(shared_url: str) -> str:
    """The database of the test: the shared one, unless a module says otherwise."""
    return shared_url


@pytest.fixture
def namespace(kubectl: Kubectl, server_url: str) -> Iterator[Kubectl]:
    """A namespace of the test's own, with the definitions and the Secret in place."""
    kubectl.run("apply", "-f", "crds")
    with kubectl.temporary_namespace() as own:
        own.run("create", "secret", "generic", "database", f"--from-literal=url={server_url}")
        own.wait_for_account()
        yield own


@pytest.fixture
async def database(server_url: str) -> AsyncIterator[Database]:
    migrate(server_url)
    database = connect(server_url)
    registry.bind(database)
    gate.url = server_url
    unknown.set_database(database)
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    yield Store(database)
    # The next test's operator mustn't find this one's jobs.
    store = Store(database)
    for record in await store.list_jobs(limit=1_000):
        await store.cancel(record.id)


@pytest.fixture
def completions(store: Store, server_url: str) -> Completions:
    return Completions(server_url)


@pytest.fixture
def operator(
    namespace: Kubectl, store: Store, server_url: str, image: str, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """An operator that serves the namespace, and a JobRunner for it."""
    namespace.apply(job_runner(image))
    with OperatorProcess(tmp_path, namespace.namespace, server_url).running() as process:
        process.wait_until_ready()
        yield process


def job_runner(image: str, name: str = "e2e", /, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "server-jobs.dev/v1alpha1",
        "kind": "JobRunner",
        "metadata": {"name": name},
        "spec": {
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "database": {"secretRef": {"name": "database"}},
            "maxConcurrency": 20,
            "launchPatienceSeconds": 3,
            "gracePeriodSeconds": 3,
            "caps": {"cpu": "2", "memory": "512Mi"},
            **spec,
        },
    }
