"""Watches the custom resources with kopf, and calls the keeper of each kind for every change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from server_jobs.errors import DatabaseError
from server_jobs_operator.cluster.names import GROUP, VERSION
from server_jobs_operator.cluster.namespaces import Namespace
from server_jobs_operator.resources.known import Keeper
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.term import Term

_log = logging.getLogger("server_jobs.operator.resources")

LOOK_SECONDS = 1.0
"""How often it is looked whether all watches are alive."""

START_SECONDS = 15.0
"""How long kopf may take until it watches everything."""

LONGEST_PAUSE_SECONDS = 30.0

THREAD = "server-jobs-kopf"
"""The name of the thread in which kopf runs."""

_WHAT = "watches of the custom resources"

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KopfWatch:
    """Runs kopf, and holds it to its watches: if one of them ends, kopf is begun again.

    By itself, kopf goes on without a watch that has ended by an error: see
    docs/adr/0011-kopf-is-held-to-its-watches.md. ``keepers`` are called, by plural name, for every
    change.
    """

    def __init__(self, term: Term, keepers: Mapping[str, Keeper]) -> None:
        self._term = term
        self._keepers = keepers

    async def run(self) -> None:
        """Watches until it is cancelled."""
        self._term.health.degrades(_WHAT, "kopf hasn't begun to watch yet")
        try:
            await self._watch_on()
        finally:
            self._term.health.answers(_WHAT)

    async def _watch_on(self) -> None:
        pause = 0.0
        while True:
            began = time.monotonic()
            why = await self._watch(self._readable())
            if why is None:  # another namespace can be read, or one can't any longer
                await asyncio.sleep(LOOK_SECONDS)
                continue
            long = time.monotonic() - began > LONGEST_PAUSE_SECONDS
            pause = 1.0 if long else min(max(2 * pause, 1.0), LONGEST_PAUSE_SECONDS)
            _log.error("%s; beginning again in %.0f s", why, pause)
            self._term.health.degrades(_WHAT, why)
            await asyncio.sleep(pause)

    def _readable(self) -> tuple[Namespace, ...]:
        """The namespaces whose custom resources could be listed the last time."""
        namespaces = self._term.namespaces
        return tuple(one for one in namespaces if namespaces.can_read(one, *self._keepers))

    async def _watch(self, namespaces: tuple[Namespace, ...]) -> str | None:
        """Watches these → why no longer; None because other ones can be read now."""
        if not namespaces:
            await asyncio.sleep(LOOK_SECONDS)
            return None
        kopf_run = _KopfRun(self._term.settings, self._keepers, namespaces)
        try:
            late = time.monotonic() + START_SECONDS
            while self._readable() == namespaces:
                await asyncio.wait({kopf_run.ended}, timeout=LOOK_SECONDS)
                if kopf_run.ended.done():
                    return f"kopf has ended: {kopf_run.ended.exception() or 'nobody knows why'}"
                missing = kopf_run.missing_watches()
                if not missing:
                    late = 0.0
                    self._term.health.answers(_WHAT)
                elif time.monotonic() > late:
                    return f"kopf doesn't watch {', '.join(missing)} any longer"
            return None
        finally:
            kopf_run.stop.set()


class _KopfRun:
    """kopf in a thread with an event loop of its own, from its beginning until ``stop`` is set.

    It takes over the signals of its loop, and cancels all tasks in it when it ends. The keepers are
    called in the loop of whoever makes this object.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        keepers: Mapping[str, Keeper],
        namespaces: Sequence[Namespace],
    ) -> None:
        self._settings = settings
        self._keepers = keepers
        self._namespaces = namespaces
        self._loop = asyncio.get_running_loop()
        self._kopfs_loop: asyncio.AbstractEventLoop | None = None
        self.stop = threading.Event()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.ended.add_done_callback(lambda future: future.cancelled() or future.exception())
        threading.Thread(target=self._run, name=THREAD, daemon=True).start()

    def missing_watches(self) -> list[str]:
        """What kopf should watch and doesn't, because it hasn't begun or has ended."""
        tasks = asyncio.all_tasks(self._kopfs_loop) if self._kopfs_loop is not None else set()
        names = {task.get_name() for task in tasks}
        return [
            f"{plural} in {namespace}" if namespace else plural
            for plural in self._keepers
            for namespace in self._namespaces
            if f"watcher for {plural}.{VERSION}.{GROUP}@{namespace}" not in names
        ]

    def _run(self) -> None:
        problem: BaseException | None = None
        try:
            asyncio.run(self._operate())
        except BaseException as error:  # noqa: BLE001 - told where it is waited for
            problem = error
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits
            self._loop.call_soon_threadsafe(_settle, self.ended, problem)

    async def _operate(self) -> None:
        self._kopfs_loop = asyncio.get_running_loop()
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        def login(**given: Any) -> kopf.ConnectionInfo | None:
            return _service_account() or kopf.login_with_kubeconfig(**given)

        for plural, keeper in self._keepers.items():
            self._serve(registry, plural, keeper)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            # Without one, kopf looks up the user's name, and in a pod there is none.
            identity=Identity(self._settings.identity),
            standalone=True,
            clusterwide=None in self._namespaces,
            namespaces=[namespace for namespace in self._namespaces if namespace is not None],
            stop_flag=self.stop,
        )

    def _serve(self, registry: kopf.OperatorRegistry, plural: str, keeper: Keeper) -> None:
        @kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)
        async def changed(event: Any, body: kopf.Body, **_: Any) -> None:
            if self.stop.is_set():
                return  # kopf takes a while to end, and another replica may be leading by then
            call = keeper(dict(body), deleted=event.get("type") == "DELETED")
            try:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))
            except DatabaseError as error:
                text = "can't write %s %s into the database, trying again: %s"
                _log.warning(text, plural, body["metadata"]["name"], error)


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
