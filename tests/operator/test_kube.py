"""The calls of the Kubernetes API as an HTTP server gets them, and what becomes of its answers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from server_jobs_operator.cluster.kube import APPLY, Kube, KubeError

STATUS = {"kind": "Status", "reason": "Forbidden", "message": "exceeded quota: team"}


class Server:
    """Answers in turn with what it is given, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str, Any]] = []
        self.errors: list[tuple[str, int]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        kind = request.headers["Content-Type"] if body is not None else ""
        self.asked.append((request.method, request.path_qs, kind, body))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


@asynccontextmanager
async def kube_of(server: Server) -> AsyncIterator[Kube]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with client.ApiClient(configuration) as api:
            yield Kube(api, lambda verb, status: server.errors.append((verb, status)))
    finally:
        await runner.cleanup()


async def test_each_call_is_one_request_of_its_verb() -> None:
    body = {"metadata": {"name": "a"}}
    server = Server(body, body, body, body, body, body)
    async with kube_of(server) as kube:
        assert await kube.get("/a") == body
        await kube.create("/all", body)
        await kube.create("/all", body, dry_run=True)
        await kube.replace("/a", body)
        await kube.patch("/a", body)
        await kube.patch("/a", body, kind=APPLY, manager="me")

    assert server.asked == [
        ("GET", "/a", "", None),
        ("POST", "/all", "application/json", body),
        ("POST", "/all?dryRun=All", "application/json", body),
        ("PUT", "/a", "application/json", body),
        ("PATCH", "/a", "application/merge-patch+json", body),
        ("PATCH", "/a?fieldManager=me&force=true", APPLY, body),
    ]
    assert server.errors == []


async def test_a_list_comes_in_pages_and_is_trimmed() -> None:
    first = {"items": [{"n": 1}, {"n": 2}], "metadata": {"continue": "more"}}
    server = Server(first, {"items": [{"n": 3}], "metadata": {"resourceVersion": "7"}})
    async with kube_of(server) as kube:
        found = await kube.list("/all", "label=x", trim=lambda item: {"trimmed": item["n"]})

    assert found == ([{"trimmed": 1}, {"trimmed": 2}, {"trimmed": 3}], "7")
    assert [path for _, path, *_ in server.asked] == [
        "/all?limit=250&labelSelector=label%3Dx",
        "/all?limit=250&labelSelector=label%3Dx&continue=more",
    ]


async def test_a_deletion_names_the_uid_and_what_is_gone_is_no_error() -> None:
    server = Server({}, web.json_response(STATUS, status=404), web.json_response({}, status=409))
    async with kube_of(server) as kube:
        assert [await kube.delete("/a", "its uid") for _ in range(3)] == [True, False, False]

    method, _, _, body = server.asked[0]
    assert (method, body["preconditions"]) == ("DELETE", {"uid": "its uid"})
    assert body["propagationPolicy"] == "Background"


@pytest.mark.parametrize(
    ("answer", "status", "reason", "message"),
    [
        (web.json_response(STATUS, status=403), 403, "Forbidden", "exceeded quota: team"),
        (web.Response(text="bad gateway", status=502), 502, "", "bad gateway"),
        (web.Response(text="not JSON"), 0, "", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
async def test_a_refusal_is_an_error_that_is_counted(
    answer: web.Response, status: int, reason: str, message: str
) -> None:
    server = Server(answer)
    async with kube_of(server) as kube:
        with pytest.raises(KubeError) as refusal:
            await kube.get("/a")

    error = refusal.value
    assert (error.verb, error.path) == ("get", "/a")
    assert (error.status, error.reason, error.message) == (status, reason, message)
    assert server.errors == [("get", status)]


async def test_a_server_that_is_not_there_has_status_0() -> None:
    server = Server()
    async with kube_of(server) as kube:
        kube._api.configuration.host = "http://127.0.0.1:1"
        with pytest.raises(KubeError) as refusal:
            await kube.get("/a")

    assert (refusal.value.status, refusal.value.away) == (0, True)
    assert server.errors == [("get", 0)]


ADDED = b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "6"}}}\n'
ERROR = b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "old"}}\n'


async def test_a_watch_tells_of_changes_until_the_server_ends_it_or_says_why() -> None:
    server = Server(web.Response(body=ADDED), web.Response(body=ADDED + ERROR))
    async with kube_of(server) as kube:
        seen = [change async for change in kube.watch("/all", "", "5")]
        with pytest.raises(KubeError) as refusal:
            async for _ in kube.watch("/all", "", "5"):
                pass

    assert seen == [("ADDED", {"metadata": {"resourceVersion": "6"}})]
    assert "watch=true&resourceVersion=5&allowWatchBookmarks=true" in server.asked[0][1]
    assert (refusal.value.status, refusal.value.reason) == (410, "Expired")
    assert server.errors == [("watch", 410)]


async def test_a_watch_passes_over_empty_lines_and_one_that_is_cut_off() -> None:
    server = Server(web.Response(body=b"\n" + ADDED + b"  \r\n" + ADDED + ADDED[:20]))
    async with kube_of(server) as kube:
        assert len([change async for change in kube.watch("/all", "", "5")]) == 2


async def test_an_event_may_be_as_large_as_an_object() -> None:
    text = "x" * 3_000_000
    item = {"metadata": {"resourceVersion": "6", "annotations": {"long": text}}}
    line = json.dumps({"type": "ADDED", "object": item}).encode() + b"\n"
    server = Server(web.Response(body=line))
    async with kube_of(server) as kube:
        assert [change async for change in kube.watch("/all", "", "5")] == [("ADDED", item)]


@pytest.mark.parametrize(
    "line",
    [
        b"<html>the proxy is tired</html>\n",
        b"{}\n",
        b"[]\n",
        b"7\n",
        b"null\n",
        b'{"type": "ADDED"}\n',
        b'{"object": {"metadata": {"resourceVersion": "6"}}}\n',
        b'{"type": "ADDED", "object": null}\n',
        b'{"type": "ADDED", "object": {}}\n',
        b'{"type": "ERROR", "object": "gone"}\n',
        b'{"type": "ERROR", "object": {"code": "no number"}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ],
)
async def test_what_is_no_event_ends_the_watch_and_asks_for_a_new_list(line: bytes) -> None:
    server = Server(web.Response(body=ADDED + line))
    async with kube_of(server) as kube:
        changes = kube.watch("/all", "", "5")
        assert (await anext(changes))[0] == "ADDED"
        with pytest.raises(KubeError, match="the answer isn't a watch's") as refusal:
            await anext(changes)

    assert not refusal.value.away
    assert len(str(refusal.value)) < 1_000


@pytest.mark.parametrize("answer", [{}, [], 7, {"items": [], "metadata": {}}, {"items": 3}])
async def test_what_is_no_list_is_an_error(answer: Any) -> None:
    server = Server(web.json_response(answer))
    async with kube_of(server) as kube:
        with pytest.raises(KubeError, match="the answer isn't"):
            await kube.list("/all")
