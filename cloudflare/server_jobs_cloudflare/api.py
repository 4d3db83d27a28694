"""The HTTP interface of a Worker: a health check and, with a token, enqueuing and reading jobs."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from server_jobs.database import Database
from server_jobs.definition.enqueue import new_job
from server_jobs.errors import (
    DataRefusedError,
    InvalidOptionError,
    InvalidParamsError,
    JobNotFoundError,
    StoreError,
)
from server_jobs.registry import JobRegistry
from server_jobs.store.store import Store
from server_jobs_cloudflare.config import EdgeConfig
from server_jobs_cloudflare.summary import say

_ID = re.compile(r"/jobs/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_FIELDS = ("job_name", "params", "queue", "delay", "unique_key", "correlation_id")


@dataclass(frozen=True)
class Request:
    """An HTTP request. ``body`` is awaited only for requests that should have one."""

    method: str
    url: str
    authorization: str
    content_length: str
    body: Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: a status and a JSON document."""

    status: HTTPStatus
    document: Mapping[str, Any]


class Refused(Exception):
    """Raised for a request that is refused. The answer says what to do."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(status, {"error": message})


def _not_found() -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "there is nothing here")


class Api:
    """Answers ``GET /healthz`` and, with a token, ``POST /jobs`` and ``GET /jobs/ID``.

    Anything else is answered by 404. A caller can't choose priority, attempts or runtime: the job's
    code does.
    """

    def __init__(
        self, database: Database, registry: JobRegistry, config: EdgeConfig, token: str | None
    ) -> None:
        self._store = Store(database)
        self._registry = registry
        self._config = config
        self._token = token
        allowed = config.api_jobs
        self._jobs = [n for n in registry.get_names() if allowed is None or n in allowed]
        self._queues = list(config.queues if config.api_queues is None else config.api_queues)

    async def answer(self, request: Request) -> Answer:
        """Answer a request. No ``Exception`` is raised, and no answer tells what failed inside."""
        try:
            return await self._route(request)
        except Refused as refused:
            return refused.answer
        except StoreError as error:
            say("api", error=type(error).__name__)
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the database can't be used just now")
        except Exception as error:  # noqa: BLE001 - no error may be shown to a stranger
            say("api", error=type(error).__name__)
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong; see the log")

    async def _route(self, request: Request) -> Answer:
        path = urlsplit(request.url).path
        if (request.method, path) == ("GET", "/healthz"):
            await self._store.check_schema()
            return Answer(HTTPStatus.OK, {"status": "ok"})
        if self._token is None:
            raise _not_found()
        if (request.method, path) == ("POST", "/jobs"):
            self._check_token(request)
            return await self._enqueue(request)
        found = _ID.fullmatch(path)
        if request.method == "GET" and found:
            self._check_token(request)
            return await self._show(found[1])
        raise _not_found()

    def _check_token(self, request: Request) -> None:
        scheme, _, given = request.authorization.partition(" ")
        expected = (self._token or "").encode()
        # In constant time: how long a refusal takes must not tell which part was right.
        right = hmac.compare_digest(given.strip().encode(), expected)
        if scheme.lower() != "bearer" or not right:
            # The log doesn't show what was sent: it may differ from the token by one letter.
            say("api", error="refused token", method=request.method)
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "send the header Authorization: Bearer … with the value of SERVER_JOBS_API_TOKEN",
            )

    async def _enqueue(self, request: Request) -> Answer:
        wanted = await self._document(request)
        name = wanted.get("job_name")
        if not isinstance(name, str) or name not in self._jobs:
            raise Refused(HTTPStatus.FORBIDDEN, f"job_name isn't one of {', '.join(self._jobs)}")
        definition = self._registry.get(name).definition
        queue = wanted.get("queue")
        if queue is None:
            own = definition.queue
            queue = own if own in self._queues else next(iter(self._queues), None)
        if not isinstance(queue, str) or queue not in self._queues:
            raise Refused(HTTPStatus.FORBIDDEN, f"queue isn't one of {', '.join(self._queues)}")
        try:
            new = new_job(
                definition,
                definition.params.validate(wanted.get("params", {})),
                max_bytes=self._store.database.capabilities.max_payload_bytes,
                queue=queue,
                delay=wanted.get("delay"),
                unique_key=wanted.get("unique_key"),
                correlation_id=wanted.get("correlation_id"),
            )
        except (InvalidParamsError, InvalidOptionError) as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        try:
            (job_id,) = await self._store.enqueue([new])
        except DataRefusedError as error:
            say("api", error=type(error).__name__)
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "the database refuses these values: one is too large, or isn't valid text",
            ) from None
        return Answer(HTTPStatus.ACCEPTED, {"id": job_id})

    async def _document(self, request: Request) -> dict[str, Any]:
        most = self._config.api_max_bytes
        too_large = Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is larger than {most} bytes; store the data elsewhere and enqueue its"
            " address",
        )
        if request.content_length.isdigit() and int(request.content_length) > most:
            raise too_large
        text = await request.body()
        if len(text.encode(errors="surrogatepass")) > most:
            raise too_large
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        unknown = sorted(document.keys() - set(_FIELDS))
        if unknown:
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                f"unknown field {unknown[0]!r}; there are {', '.join(_FIELDS)}",
            )
        return document

    async def _show(self, job_id: str) -> Answer:
        try:
            record = await self._store.get(job_id)
        except JobNotFoundError:
            raise _not_found() from None
        if record.job_name not in self._jobs:
            raise _not_found()
        shown = {
            "id": record.id,
            "job_name": record.job_name,
            "status": str(record.status),
            "progress": record.progress,
            "progress_message": record.progress_message,
            "result": None if record.result is None else json.loads(record.result),
        }
        return Answer(HTTPStatus.OK, shown)


def _error(status: HTTPStatus, message: str) -> Answer:
    return Answer(status, {"error": message})
