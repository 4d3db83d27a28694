"""Sends HTTP requests on servers, by httpx on threads that own their connections."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import lru_cache

from server_jobs.database.base import NothingRanError
from server_jobs.database.hrana import ANSWER_TIMEOUT_SECONDS
from server_jobs.database.threads import ConnectionThreads
from server_jobs.errors import DatabaseUnavailableError, MissingDependencyError

try:
    import httpx
except ImportError as error:  # pragma: no cover - shown by tests/packaging in a bare environment
    raise MissingDependencyError("libSQL needs httpx: pip install 'server-jobs[libsql]'") from error

CONNECT_TIMEOUT_SECONDS = 10.0
THREADS = 8

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class HttpxTransport(ConnectionThreads[httpx.Client]):
    """Sends each request on one of its threads.

    ``answer_timeout`` is how long a server may be silent, in seconds; 0 waits for ever.
    """

    def __init__(self, *, answer_timeout: float = ANSWER_TIMEOUT_SECONDS) -> None:
        super().__init__(THREADS, "libsql")
        self._timeout = httpx.Timeout(answer_timeout or None, connect=CONNECT_TIMEOUT_SECONDS)

    async def post(self, url: str, *, headers: Mapping[str, str], body: str) -> tuple[int, str]:
        def send(client: httpx.Client) -> tuple[int, str]:
            try:
                answer = client.post(url, headers=dict(headers), content=body)
            except _NOT_SENT as error:
                raise NothingRanError(f"can't connect: {_text(error)}") from error
            except httpx.HTTPError as error:
                raise DatabaseUnavailableError(f"no answer: {_text(error)}") from error
            return answer.status_code, answer.text

        return await self._on_thread(send)

    def _connect(self) -> httpx.Client:
        return httpx.Client(timeout=self._timeout, verify=_certificates(), follow_redirects=False)

    def _disconnect(self, connection: httpx.Client) -> None:
        connection.close()

    def _broken(self, connection: httpx.Client, error: Exception) -> bool:
        return False  # httpx itself drops connections that broke


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    # Reading them takes longer than a request.
    return httpx.create_ssl_context()


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
