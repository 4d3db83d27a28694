"""Where the chart is installed: a namespace for restricted pods alone, and an empty database."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from server_jobs import connect
from server_jobs.store.store import Store
from tests.e2e.app.jobs import gate, registry
from tests.e2e.support.kubectl import Kubectl
from tests.support.servers.postgres import temporary_database


@dataclass
class Place:
    """A namespace, and an empty database that its Secret names."""

    namespace: Kubectl
    url: str


@contextmanager
def empty_place(kubectl: Kubectl, server_url: str) -> Iterator[Place]:
    with kubectl.temporary_namespace() as own, temporary_database(server_url) as url:
        level = "pod-security.kubernetes.io/enforce=restricted"
        own.run("label", "namespace", own.namespace, level)
        own.run("create", "secret", "generic", "database", f"--from-literal=url={url}")
        own.wait_for_account()
        yield Place(own, url)


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    """Its database, as the one that jobs are enqueued into."""
    database = connect(place.url)
    registry.bind(database)
    gate.url = place.url
    gate.close()
    yield Store(database)
    await database.close()


def values(image: str, operator_image: str, **more: Any) -> dict[str, Any]:
    repository, _, tag = operator_image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "database": {"existingSecret": "database"},
        "settings": {"RECONCILE_INTERVAL": "2"},
        "defaultRunner": {
            "enabled": True,
            "spec": {
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "gracePeriodSeconds": 3,
                "caps": {"memory": "512Mi"},
            },
        },
        **more,
    }
