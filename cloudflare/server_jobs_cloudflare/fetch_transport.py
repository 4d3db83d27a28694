"""HTTP in a Worker: the platform's ``fetch``, since there are no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from server_jobs.errors import DatabaseUnavailableError

CONNECTIONS = 2
"""Of the six that an invocation may have, so that handlers keep four."""


class FetchTransport:
    """Sends one request and reads its answer whole, at most two at once."""

    def __init__(self) -> None:
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def post(self, url: str, *, headers: Mapping[str, str], body: str) -> tuple[int, str]:
        """The status and the text of the answer. Raises DatabaseUnavailableError."""
        from js import Object, fetch
        from pyodide.ffi import JsException, to_js

        options = {"method": "POST", "headers": dict(headers), "body": body, "redirect": "manual"}
        async with self._connections:
            try:
                answer = await fetch(url, to_js(options, dict_converter=Object.fromEntries))
                return int(answer.status), str(await answer.text())
            except JsException as error:
                # Sent or not, nobody knows: the driver decides whether it may be sent again.
                raise DatabaseUnavailableError(f"the database can't be reached: {error}") from error

    async def close(self) -> None:
        """Nothing is kept open."""
