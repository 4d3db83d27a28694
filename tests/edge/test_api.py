"""What the Worker answers over HTTP, and what it keeps to itself."""

import hmac
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, TypeAlias
from unittest import mock

import pytest

from server_jobs import JobStatus, connect
from server_jobs.database import Database
from server_jobs.store.store import Store
from server_jobs_cloudflare import create_cron_handler
from server_jobs_cloudflare.api import Answer
from tests.support.edge_worker import Doubled, Params, double, environment, lines, registry_of, sql

TOKEN = "a token"
Ask: TypeAlias = Callable[..., Awaitable[Answer]]


async def broken(params: Params) -> Doubled:
    raise ValueError("at line 7")


@pytest.fixture
def ask(url: str) -> Ask:
    registry = registry_of(double, broken, max_attempts=1)
    handler = create_cron_handler(
        database=lambda env: connect(url),
        job_registry=registry,
        api_jobs=["double", "broken"],
        api_max_bytes=500,
    )

    async def ask(
        method: str, path: str, body: Any = "", token: str | None = TOKEN, set: str | None = TOKEN
    ) -> Answer:
        async def text() -> str:
            return body if isinstance(body, str) else json.dumps(body)

        request = SimpleNamespace(
            method=method,
            url=f"https://worker.example{path}",
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            text=text,
        )
        env = environment() if set is None else environment(SERVER_JOBS_API_TOKEN=set)
        worker = handler(None, env)
        answer: Answer = await (
            worker.scheduled(None) if path == "/tick" else worker.fetch(request)
        )
        return answer

    return ask


async def test_job_is_enqueued_executed_and_shown(ask: Ask) -> None:
    enqueued = await ask("POST", "/jobs", {"job_name": "double", "params": {"number": 21}})
    assert enqueued.status is HTTPStatus.ACCEPTED
    path = f"/jobs/{enqueued.document['id']}"
    assert (await ask("GET", path)).document["status"] == "pending"

    await ask("", "/tick")

    assert (await ask("GET", path)).document == {
        "id": enqueued.document["id"],
        "job_name": "double",
        "status": "completed",
        "progress": 100.0,
        "progress_message": "half-way",
        "result": {"doubled": 42},
    }


async def test_options_reach_the_row(ask: Ask, database: Database) -> None:
    wanted = {"job_name": "double", "delay": 60, "unique_key": "u", "correlation_id": "c"}
    first, second = [await ask("POST", "/jobs", wanted) for _ in range(2)]

    assert first.document == second.document
    job = await Store(database).get(first.document["id"])
    assert (job.queue, job.unique_key, job.correlation_id) == ("edge", "u", "c")
    assert (job.scheduled_for - job.created_at).total_seconds() == pytest.approx(60, abs=1)


async def test_neither_traceback_nor_params_are_shown(ask: Ask) -> None:
    job = {"job_name": "broken", "params": {"secret": "hunter2"}}
    enqueued = await ask("POST", "/jobs", job)
    await ask("", "/tick")

    shown = (await ask("GET", f"/jobs/{enqueued.document['id']}")).document

    assert shown["status"] == JobStatus.FAILED
    assert not any(word in json.dumps(shown) for word in ("hunter2", "line 7", "Traceback"))
    assert shown.keys() == {
        "id", "job_name", "status", "progress", "progress_message", "result",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"job_name": "other"}, HTTPStatus.FORBIDDEN, "job_name isn't one of double, broken"),
        ({"job_name": "double", "queue": "default"}, HTTPStatus.FORBIDDEN, "queue isn't one of"),
        ({"job_name": "double", "runtime": {}}, HTTPStatus.BAD_REQUEST, "unknown field 'runtime'"),
        ({"job_name": "double", "priority": 9}, HTTPStatus.BAD_REQUEST, "field 'priority'"),
        ({"job_name": "double", "params": {"number": "x"}}, HTTPStatus.UNPROCESSABLE_ENTITY, "num"),
        ({"job_name": "double", "delay": "5m"}, HTTPStatus.UNPROCESSABLE_ENTITY, "delay"),
        (
            {"job_name": "double", "unique_key": "u" * 500},
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "500",
        ),
        ("[]", HTTPStatus.BAD_REQUEST, "JSON object"),
        ("{", HTTPStatus.BAD_REQUEST, "JSON object"),
        ("[" * 450, HTTPStatus.BAD_REQUEST, "JSON object"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_enqueued(
    ask: Ask, database: Database, body: Any, status: HTTPStatus, says: str
) -> None:
    answer = await ask("POST", "/jobs", body)

    assert answer.status is status
    assert says in answer.document["error"]
    assert await Store(database).list_jobs() == []


@pytest.mark.parametrize("token", [None, "", "another", f"{TOKEN}x", "tökén"])
async def test_wrong_token_is_401(ask: Ask, token: str | None) -> None:
    for method, path in [("POST", "/jobs"), ("GET", f"/jobs/{'0' * 8}-0000-0000-0000-{'0' * 12}")]:
        assert (await ask(method, path, token=token)).status is HTTPStatus.UNAUTHORIZED


async def test_refused_token_leaves_a_line_without_it(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    await ask("POST", "/jobs", token="hunter2")
    await ask("POST", "/jobs", "[]")  # with the right one: no line

    output = capsys.readouterr().out
    (line,) = lines(output, "api")
    assert line == {"event": "api", "error": "refused token", "method": "POST"}
    assert "hunter2" not in output


async def test_values_that_the_database_refuses_are_the_callers_fault(
    ask: Ask, database: Database
) -> None:
    await sql(
        database,
        "CREATE TRIGGER refusal BEFORE INSERT ON jobs"
        " BEGIN SELECT RAISE(ABORT, 'this secret value'); END",
    )

    answer = await ask("POST", "/jobs", {"job_name": "double"})

    assert answer.status is HTTPStatus.UNPROCESSABLE_ENTITY
    assert "secret" not in answer.document["error"]


async def test_tokens_are_compared_in_constant_time(ask: Ask) -> None:
    with mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compared:
        await ask("POST", "/jobs", token="wrong")

    compared.assert_called_once_with(b"wrong", TOKEN.encode())


@pytest.mark.parametrize("set", [None, ""])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/jobs"), ("GET", f"/jobs/{'0' * 8}-0000-0000-0000-{'0' * 12}")]
)
async def test_without_a_token_there_is_no_api(
    ask: Ask, method: str, path: str, set: str | None
) -> None:
    assert (await ask(method, path, set=set, token="")).status is HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/jobs"),
        ("DELETE", "/jobs"),
        ("POST", "/healthz"),
        ("GET", "/jobs/1"),
        ("GET", f"/jobs/{'0' * 8}-0000-0000-0000-{'0' * 12}"),
    ],
)
async def test_everything_else_is_404(ask: Ask, method: str, path: str) -> None:
    assert (await ask(method, path)).status is HTTPStatus.NOT_FOUND


async def test_health_needs_no_token(ask: Ask) -> None:
    answer = await ask("GET", "/healthz", set=None, token=None)

    assert (answer.status, answer.document) == (HTTPStatus.OK, {"status": "ok"})
