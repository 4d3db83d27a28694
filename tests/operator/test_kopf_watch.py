"""The custom resources are watched as long as the operator leads, whatever happens to a watch."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from aiohttp import web

from server_jobs.launches.store import LaunchStore
from server_jobs_operator.cluster.names import GROUP, VERSION
from server_jobs_operator.controllers import kopf_watch
from server_jobs_operator.controllers.kopf_watch import THREAD, KopfWatch
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.operator.fake_kube import FakeKube, job_runner_body
from tests.operator.samples import SETTINGS
from tests.support.workers import until

Line = dict[str, Any] | bytes | None


def group(name: str, version: str) -> dict[str, Any]:
    found = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [found], "preferredVersion": found}


def kinds(**names: str) -> dict[str, Any]:
    return {
        "resources": [
            {
                "name": plural,
                "kind": kind,
                "singularName": kind.lower(),
                "namespaced": True,
                "verbs": ["list", "watch", "patch"],
            }
            for plural, kind in names.items()
        ]
    }


KNOWN = {
    "/api": {"versions": ["v1"]},
    "/api/v1": kinds(namespaces="Namespace", events="Event"),
    "/apis": {"groups": [group(GROUP, VERSION), group("apiextensions.k8s.io", "v1")]},
    "/apis/apiextensions.k8s.io/v1": kinds(customresourcedefinitions="CustomResourceDefinition"),
    f"/apis/{GROUP}/{VERSION}": kinds(jobrunners="JobRunner", jobschedules="JobSchedule"),
}
"""What kopf asks for before it watches anything."""


class Server:
    """An API server over HTTP as far as kopf asks it: JobRunners that are listed and watched."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.watches: list[asyncio.Queue[Line]] = []
        self._open: list[asyncio.Queue[Line]] = []
        self.url = ""

    def tell(self, line: Line) -> None:
        """Let each watch of the JobRunners that is open tell of this."""
        for watch in self.watches:
            watch.put_nowait(line)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in KNOWN:
            return web.json_response(KNOWN[path])
        if not path.endswith(("/jobrunners", "/jobschedules")):
            return web.json_response({}, status=404)
        ours = path.endswith("/jobrunners")
        if request.query.get("watch") != "true":
            metadata = {"resourceVersion": "1"}
            return web.json_response({"items": self.bodies if ours else [], "metadata": metadata})
        answer = web.StreamResponse()
        await answer.prepare(request)
        lines: asyncio.Queue[Line] = asyncio.Queue()
        self._open.append(lines)
        if ours:
            self.watches.append(lines)
        try:
            while (line := await lines.get()) is not None:
                text = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                await answer.write(text)
        finally:
            self._open.remove(lines)
            if ours:
                self.watches.remove(lines)
        return answer

    def end(self) -> None:
        """Ends all watches, as a server does that is shut down."""
        for watch in self._open:
            watch.put_nowait(None)


@pytest.fixture
async def server(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    running = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await running.setup()
    await web.TCPSite(running, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{running.addresses[0][1]}"
    config = {
        "clusters": [{"name": "it", "cluster": {"server": server.url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "it", "user": "me"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(kopf_watch, "LOOK_SECONDS", 0.05)
    yield server
    server.end()
    await running.cleanup()


class Seen:
    """What the keepers were told, and the health of the operator."""

    def __init__(self, launches: LaunchStore) -> None:
        self.names: list[str] = []
        self.health = Health()
        self.term = Term.begin(FakeKube(), launches, SETTINGS, Metrics(), self.health)
        keepers = {"jobrunners": self._changed, "jobschedules": self._changed}
        self.watching = asyncio.create_task(KopfWatch(self.term, keepers).run())

    async def _changed(self, body: Any, *, deleted: bool) -> None:
        self.names.append(body["metadata"]["name"])


@pytest.fixture
async def seen(server: Server, launches: LaunchStore) -> AsyncIterator[Seen]:
    server.bodies.append(job_runner_body("first"))
    seen = Seen(launches)
    await until(lambda: seen.names == ["first"] and server.watches != [], "the watch begins")
    await until(lambda: not seen.health.degraded, "both kinds are watched")
    yield seen
    seen.watching.cancel()
    await asyncio.gather(seen.watching, return_exceptions=True)
    # While the server is there: kopf's complaints would stand in other tests' logs.
    await until(lambda: all(one.name != THREAD for one in threading.enumerate()), "kopf ends")


def added(name: str) -> Line:
    return {"type": "ADDED", "object": job_runner_body(name)}


async def test_a_change_is_told(server: Server, seen: Seen) -> None:
    server.tell(added("second"))

    await until(lambda: "second" in seen.names, "it is told")


@pytest.mark.parametrize(
    "line",
    [
        {"type": "ERROR", "object": {"code": 500, "message": "etcd is away"}},
        {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}},
        {"type": "ERROR", "object": "gone"},
        {"object": {}},
        b"<html>the proxy is tired</html>\n",
    ],
)
async def test_a_watch_that_ends_is_begun_again_and_said(
    server: Server, seen: Seen, line: Line
) -> None:
    server.tell(line)
    server.bodies.append(job_runner_body("second"))

    async def told() -> None:
        while "third" not in seen.names:
            server.tell(added("third"))
            await asyncio.sleep(0.1)

    await asyncio.wait_for(told(), 20)
    await until(lambda: not seen.health.degraded, "all is well again")
    assert "second" in seen.names
    assert not seen.watching.done()


async def test_empty_lines_end_nothing(server: Server, seen: Seen) -> None:
    server.tell(b"\n\n")
    server.tell(added("second"))

    await until(lambda: "second" in seen.names, "it is told")
    assert not seen.health.degraded


async def test_only_namespaces_that_can_be_read_are_watched(server: Server, seen: Seen) -> None:
    seen.term.namespaces.fails("jobs", "jobrunners", "forbidden")
    await until(lambda: not server.watches, "it watches no longer")

    seen.term.namespaces.answers("jobs", "jobrunners")
    await until(lambda: server.watches != [], "it watches again")
