"""The custom resources, by kopf: every change goes to the one who keeps that kind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import kopf
from kopf._core.engines.peering import Identity

from server_jobs.errors import DatabaseError
from server_jobs_operator.names import GROUP, VERSION
from server_jobs_operator.settings import OperatorSettings

_log = logging.getLogger("server_jobs.operator.resources")

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

SETTLING_SECONDS = 1.0
"""After so long without news, what existed at the start is known."""


class Keeper(Protocol):
    """Who is told of changes of one kind of resource."""

    async def __call__(self, body: Mapping[str, Any], /, *, deleted: bool) -> None:
        """One was added or changed, or ``deleted``."""


async def watch_resources(
    settings: OperatorSettings, keepers: Mapping[str, Keeper], known: asyncio.Event
) -> None:
    """Tell of every resource of these kinds until cancelled; ``known`` is set after the first."""
    # kopf tells of what exists before of what changes, and of its having begun; not of its being
    # through with the former. A crowd comes without pauses.
    news = asyncio.Event()
    ready = asyncio.Event()
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**given: Any) -> kopf.ConnectionInfo | None:
        return _service_account() or kopf.login_with_kubeconfig(**given)

    def serve(plural: str, keeper: Keeper) -> None:
        @kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)
        async def changed(event: Any, body: kopf.Body, **_: Any) -> None:
            news.set()
            try:
                await keeper(dict(body), deleted=event.get("type") == "DELETED")
            except DatabaseError as error:
                _log.warning("%s %s has to wait: %s", plural, body["metadata"]["name"], error)

    for plural, keeper in keepers.items():
        serve(plural, keeper)

    async def settle() -> None:
        await ready.wait()
        with contextlib.suppress(TimeoutError):
            while True:
                news.clear()
                async with asyncio.timeout(SETTLING_SECONDS):
                    await news.wait()
        known.set()

    settling = asyncio.create_task(settle())
    try:
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            # Else it would look for the user's name, and in a pod there is none.
            identity=Identity(settings.identity),
            standalone=True,
            clusterwide=settings.namespaces is None,
            namespaces=settings.namespaces or (),
            ready_flag=ready,
        )
    finally:
        settling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await settling


def _service_account() -> kopf.ConnectionInfo | None:
    """The pod's own. kopf's looks for the server by a name that not every cluster resolves."""
    token = _ACCOUNT / "token"
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if not token.exists() or not host:
        return None
    address = f"[{host}]" if ":" in host else host
    return kopf.ConnectionInfo(
        server=f"https://{address}:{port}",
        ca_path=str(_ACCOUNT / "ca.crt"),
        token=token.read_text().strip(),
    )


# Its lines about each event, with all its settings in them, say nothing that ours don't.
logging.getLogger("kopf").setLevel(logging.WARNING)


def kopf_settings() -> kopf.OperatorSettings:
    """What kopf is to do without: all but telling of changes."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False  # Events are ours to write
    chosen.peering.standalone = True
    # Else it would want to look at all namespaces and definitions, for which we have no permission.
    chosen.scanning.disabled = True
    chosen.process.ultimate_exiting_timeout = None
    return chosen
