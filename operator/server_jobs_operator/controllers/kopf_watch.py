"""Changes of the custom resources, by kopf: each goes to the one who keeps that kind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from server_jobs.errors import DatabaseError
from server_jobs_operator.cluster.names import GROUP, VERSION
from server_jobs_operator.resources.known import Keeper
from server_jobs_operator.settings import OperatorSettings

_log = logging.getLogger("server_jobs.operator.resources")

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


async def watch_resources(settings: OperatorSettings, keepers: Mapping[str, Keeper]) -> None:
    """Tell of every change of these kinds until cancelled. Raises what kopf ends with.

    kopf gets a thread and a loop of its own: of the loop that it runs in it takes the signals, and
    in the end it cancels all tasks there that it finds. The keepers are called in this loop.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    ended: asyncio.Future[None] = loop.create_future()
    ended.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def told(keeper: Keeper, body: Mapping[str, Any], deleted: bool) -> None:
        if stop.is_set():
            return  # kopf takes a while to end; by then another replica may be the one who leads
        call = keeper(body, deleted=deleted)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, loop))

    def run() -> None:
        problem: BaseException | None = None
        try:
            asyncio.run(_operate(settings, keepers, told, stop))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            problem = error
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(_settle, ended, problem)

    threading.Thread(target=run, name="server-jobs-kopf", daemon=True).start()
    try:
        await asyncio.shield(ended)
        raise RuntimeError("kopf has stopped watching by itself")
    finally:
        stop.set()


async def _operate(
    settings: OperatorSettings,
    keepers: Mapping[str, Keeper],
    told: Callable[[Keeper, Mapping[str, Any], bool], Awaitable[None]],
    stop: threading.Event,
) -> None:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**given: Any) -> kopf.ConnectionInfo | None:
        return _service_account() or kopf.login_with_kubeconfig(**given)

    def serve(plural: str, keeper: Keeper) -> None:
        @kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)
        async def changed(event: Any, body: kopf.Body, **_: Any) -> None:
            try:
                await told(keeper, dict(body), event.get("type") == "DELETED")
            except DatabaseError as error:
                _log.warning("%s %s has to wait: %s", plural, body["metadata"]["name"], error)

    for plural, keeper in keepers.items():
        serve(plural, keeper)
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        # Else it would look for the user's name, and in a pod there is none.
        identity=Identity(settings.identity),
        standalone=True,
        clusterwide=settings.namespaces is None,
        namespaces=settings.namespaces or (),
        stop_flag=stop,
    )


def _settle(ended: asyncio.Future[None], problem: BaseException | None) -> None:
    if ended.done():
        return
    if problem is None:
        ended.set_result(None)
    else:
        ended.set_exception(problem)


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
# It warns of leaving signals alone, which is what it is to do.
logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


def kopf_settings() -> kopf.OperatorSettings:
    """What kopf is to do without: all but telling of changes."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False  # Events are ours to write
    chosen.peering.standalone = True
    # Else it would want to look at all namespaces and definitions, for which we have no permission.
    chosen.scanning.disabled = True
    chosen.process.ultimate_exiting_timeout = None
    return chosen
