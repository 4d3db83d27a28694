"""Watches the custom resources with kopf, and calls the keeper of each kind for every change."""

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
    """Calls ``keepers``, by plural name, for every change until it is cancelled.

    The keepers are called in the caller's event loop. kopf has a thread and an event loop of its
    own, because it takes over the signals of its loop, and cancels all tasks in it when it ends.
    Raises what kopf ended with.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    ended: asyncio.Future[None] = loop.create_future()
    ended.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def told(keeper: Keeper, body: Mapping[str, Any], deleted: bool) -> None:
        if stop.is_set():
            return  # kopf takes a while to end, and another replica may be leading by then
        call = keeper(body, deleted=deleted)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, loop))

    def run() -> None:
        problem: BaseException | None = None
        try:
            asyncio.run(_operate(settings, keepers, told, stop))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            problem = error
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits
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
                text = "can't write %s %s into the database, trying again: %s"
                _log.warning(text, plural, body["metadata"]["name"], error)

    for plural, keeper in keepers.items():
        serve(plural, keeper)
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        # Without one, kopf looks up the user's name, and in a pod there is none.
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
    """The pod's service account → None outside a pod.

    kopf's own login finds the API server by a name that not every cluster resolves.
    """
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


# kopf logs each event with all of its settings, and our own lines say the same.
logging.getLogger("kopf").setLevel(logging.WARNING)
# kopf warns that it doesn't handle signals, which is intended here.
logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


def kopf_settings() -> kopf.OperatorSettings:
    """Settings that turn off everything in kopf but its watches."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False  # Events are ours to write
    chosen.peering.standalone = True
    # Otherwise kopf would list all namespaces and definitions, for which we have no permission.
    chosen.scanning.disabled = True
    chosen.process.ultimate_exiting_timeout = None
    return chosen
