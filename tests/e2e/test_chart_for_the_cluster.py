"""The chart with `scope: cluster`, and a role for the migration that nobody else goes by."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.e2e.app.jobs import double
from tests.e2e.support.helm import Helm
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.node import require_own_cluster
from tests.e2e.support.permissions import account, granted, need_everything, refused, used
from tests.e2e.support.place import empty_place, opened, values
from tests.e2e.support.waiting import over, record_when, until

pytestmark = pytest.mark.timeout(300)


async def test_for_the_whole_cluster_with_credentials_of_its_own_to_migrate(
    kubectl: Kubectl, server_url: str, image: str, operator_image: str
) -> None:
    require_own_cluster()
    # It would serve the JobRunners of other tests, too, while their namespaces end.
    kubectl.run("apply", "-f", "crds")
    await until(lambda: not kubectl.run("get", "jobrunners", "-A", "-o", "name"), 120)
    chart_values = values(image, operator_image)
    chart_values |= {"scope": "cluster", "migrations": {"existingSecret": "owner"}}
    chart_values["defaultRunner"]["spec"]["queues"] = ["wide"]
    with empty_place(kubectl, server_url) as place, without_rights(place.url) as url:
        namespace = place.namespace
        with kubectl.temporary_namespace() as second:
            second.wait_for_account()
            for own, secret, of in (
                (namespace, "owner", place.url), (namespace, "worker", url), (second, "worker", url)
            ):  # fmt: skip
                own.run("create", "secret", "generic", secret, f"--from-literal=url={of}")
            chart_values["database"] = {"existingSecret": "worker"}
            helm = Helm(namespace)
            helm.install(chart_values, "--wait", "--timeout", "120s")
            second.apply(runner_of_the_second(chart_values))
            with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(url) as ours:
                ours.execute("CREATE TABLE not_mine (x int)")

            async with opened(place) as jobs:
                user = account(namespace)
                await need_everything(namespace, jobs, "wide")
                job_id = await double.later({"n": 4}, queue="second")
                record = await record_when(jobs, job_id, over)
                assert record.result == "8"
                assert second.get("job", f"job-{job_id}-1")

            wanted = granted(namespace)
            with contextlib.suppress(TimeoutError):
                await until(lambda: wanted <= used(user), 20)
            assert used(user) == wanted
            assert refused(user) == []
            helm.uninstall()


@contextmanager
def without_rights(url: str) -> Iterator[str]:
    """The database as a role sees it that may work on the tables to come, and change none."""
    role = f"worker_{uuid4().hex[:8]}"
    on_tables = "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES"
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN".encode())
        owner.execute(f"GRANT USAGE ON SCHEMA public TO {role}".encode())
        owner.execute(f"ALTER DEFAULT PRIVILEGES {on_tables} TO {role}".encode())
        try:
            yield url.replace("postgres@", f"{role}@", 1)
        finally:
            owner.execute(f"DROP OWNED BY {role} CASCADE".encode())
            owner.execute(f"DROP ROLE {role}".encode())


def runner_of_the_second(chart_values: dict[str, Any]) -> dict[str, Any]:
    spec = {"queues": ["second"], "database": {"secretRef": {"name": "worker"}}}
    return {
        "apiVersion": "server-jobs.dev/v1alpha1",
        "kind": "JobRunner",
        "metadata": {"name": "second"},
        "spec": {**chart_values["defaultRunner"]["spec"], **spec},
    }
