"""The few calls that the operator makes of the Kubernetes API: JSON in, JSON out.

On the client of ``kubernetes.aio``, which knows kubeconfigs, tokens that expire and certificates,
but not on its models: thousands of Jobs as Python objects take more memory than all else here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

Json: TypeAlias = dict[str, Any]

TIMEOUT_SECONDS = 30.0
PAGE = 250
CONNECTIONS = 100
"""How many requests may be under way at once."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_WATCH_SECONDS = 240


# Parts of messages; the reason is Forbidden for all of them, and for a policy's denial.
_HELD_UP = ("exceeded quota", "failed quota", " cannot ", "being terminated")


class KubeError(Exception):
    """The API server refused a request, or couldn't be asked (``status`` 0)."""

    def __init__(self, verb: str, path: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{verb} {path}: {message or reason or status}")
        self.verb = verb
        self.path = path
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def away(self) -> bool:
        """Whether the server is at fault and not the request: worth asking again."""
        return self.status in {0, 429} or self.status >= 500

    @property
    def passes(self) -> bool:
        """Whether the same request may well succeed a moment later.

        So are conflicts, of parallel creates under one quota for instance, and tokens that expire.
        """
        return self.away or self.status == 401 or (self.status == 409 and not self.exists)

    @property
    def held_up(self) -> bool:
        """Whether nobody's Job would be taken there: a quota, a permission, a namespace that ends.

        What an admission policy denies is another thing: that is about one Job.
        """
        if self.not_found:
            return "namespaces" in self.message
        return self.forbidden and any(sign in self.message for sign in _HELD_UP)

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def forbidden(self) -> bool:
        return self.status == 403


@dataclass(frozen=True, slots=True)
class _Request:
    """One request; ``verb`` is Kubernetes' word for it, as in permissions and metrics."""

    verb: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the URL; those with an empty value are left out."""
    body: Json | None = None
    content_type: str = "application/json"


class Kube:
    """An API server. ``on_error`` is told of each failure: verb and status."""

    def __init__(
        self,
        api: client.ApiClient,
        on_error: Callable[[str, int], None] = lambda verb, status: None,
    ) -> None:
        self._api = api
        self._on_error = on_error

    async def get(self, path: str) -> Json:
        """One object. Raises KubeError."""
        return await self._json(_Request("get", "GET", path))

    async def list(
        self, path: str, selector: str = "", trim: Callable[[Json], Json] = lambda item: item
    ) -> tuple[list[Json], str]:
        """All that fit, consistently, and the version that they are of. Raises KubeError.

        Thousands of whole Jobs would take a hundred megabytes: each is trimmed as its page comes.
        """
        items: list[Json] = []
        query = {"limit": str(PAGE), "labelSelector": selector}
        while True:
            page = await self._json(_Request("list", "GET", path, query))
            items += map(trim, page["items"])
            following = page["metadata"].get("continue")
            if not following:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = following

    async def watch(
        self, path: str, selector: str, resource_version: str
    ) -> AsyncIterator[tuple[str, Json]]:
        """Changes since that version, until the server ends it: (type, object).

        Raises KubeError; status 410 asks for a new list.
        """
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        # A server that is gone without a word sends no bookmark either.
        timeout = aiohttp.ClientTimeout(
            total=_WATCH_SECONDS + TIMEOUT_SECONDS, sock_read=_WATCH_SECONDS + TIMEOUT_SECONDS
        )
        request = _Request("watch", "GET", path, query)
        response = await self._send(request, timeout)
        try:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    code = int(status.get("code") or 500)
                    raise self._failed(
                        request, code, status.get("reason", ""), status.get("message", "")
                    )
                yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(request, 0, "", _said(error)) from error
        finally:
            response.close()

    async def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object. Raises KubeError."""
        query = {"dryRun": "All"} if dry_run else {}
        return await self._json(_Request("create", "POST", path, query, body))

    async def replace(self, path: str, body: Json) -> Json:
        """Replace an object of the version that the body names. Raises KubeError."""
        return await self._json(_Request("update", "PUT", path, body=body))

    async def patch(
        self, path: str, body: Json, *, kind: str = MERGE, manager: str | None = None
    ) -> Json:
        """Change an object; with ``manager``, as the owner of the fields. Raises KubeError."""
        query = {"fieldManager": manager, "force": "true"} if manager and kind == APPLY else {}
        return await self._json(_Request("patch", "PATCH", path, query, body, kind))

    async def delete(self, path: str, uid: str) -> bool:
        """Delete this very object in the background → whether it was there. Raises KubeError."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._json(_Request("delete", "DELETE", path, body=body))
        except KubeError as error:
            if error.not_found or error.status == 409:  # gone, or another one of that name
                return False
            raise
        return True

    async def _json(self, request: _Request) -> Json:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        response = await self._send(request, timeout)
        try:
            answer: Json = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._failed(request, 0, "", _said(error)) from error
        finally:
            response.release()
        return answer

    async def _send(
        self, request: _Request, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": request.content_type}
        await self._api.update_params_for_auth(
            headers, [], ["BearerToken"], request.path, request.method, request.body
        )
        url = self._api.configuration.host + request.path
        given = {name: value for name, value in request.query.items() if value}
        try:
            answer = await self._api.rest_client.request(
                request.method,
                url + (f"?{urlencode(given)}" if given else ""),
                headers=headers,
                body=request.body,
                _request_timeout=timeout,
            )
            response: aiohttp.ClientResponse = answer.response
            if response.status < 400:
                return response
            text = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._failed(request, 0, "", _said(error)) from error
        except ApiException as error:
            raise self._failed(request, int(error.status or 0), str(error.reason), "") from error
        try:
            status = json.loads(text)
            reason, message = str(status.get("reason", "")), str(status.get("message", ""))
        except ValueError:
            reason, message = "", text[:200].decode(errors="replace")
        raise self._failed(request, response.status, reason, message)

    def _failed(self, request: _Request, status: int, reason: str, message: str) -> KubeError:
        """The error to raise, counted."""
        self._on_error(request.verb, status)
        return KubeError(request.verb, request.path, status, reason, message)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def connected(
    on_error: Callable[[str, int], None], *, watches: int = 0
) -> AsyncIterator[Kube]:
    """The API server of the pod that we are in, else the one of the kubeconfig.

    ``watches`` are connections that are never free for anything else.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = CONNECTIONS + watches
    async with client.ApiClient(configuration) as api:
        yield Kube(api, on_error)
