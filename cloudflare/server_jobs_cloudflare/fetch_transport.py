"""Sends HTTP requests in a Worker, by the platform's ``fetch``: there are no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from server_jobs.database.hrana import ANSWER_TIMEOUT_SECONDS
from server_jobs.errors import DatabaseUnavailableError
from server_jobs_cloudflare.under_way import UnderWay

CONNECTIONS = 2
"""How many requests may be under way: two of the platform's six, so that handlers have four."""


class FetchTransport:
    """Sends requests, at most two at once, and reads their whole answers."""

    def __init__(self) -> None:
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._under_way = UnderWay()

    async def post(self, url: str, *, headers: Mapping[str, str], body: str) -> tuple[int, str]:
        return await self._under_way.to_its_end(self._post(url, headers, body))

    async def close(self) -> None:
        await self._under_way.end()

    async def _post(self, url: str, headers: Mapping[str, str], body: str) -> tuple[int, str]:
        from js import AbortSignal, Object, fetch
        from pyodide.ffi import JsException, to_js

        async with self._connections:
            options = to_js(
                {"method": "POST", "headers": dict(headers), "body": body, "redirect": "manual"},
                dict_converter=Object.fromEntries,
            )
            options.signal = AbortSignal.timeout(ANSWER_TIMEOUT_SECONDS * 1_000)
            try:
                answer = await fetch(url, options)
                return int(answer.status), str(await answer.text())
            except JsException as error:
                # `fetch` doesn't tell whether anything was sent, so nothing is sent again.
                raise DatabaseUnavailableError(f"no answer: {error}") from error
