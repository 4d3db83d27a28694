"""The few Kubernetes API calls that the operator makes: JSON in, JSON out.

The client of ``kubernetes.aio`` handles kubeconfigs, expiring tokens and certificates. Its models
aren't used: thousands of Jobs as Python objects would take more memory than everything else here.
"""

from __future__ import annotations

import json
import re
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
"""How many requests may wait for an answer at the same time."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_WATCH_SECONDS = 240

_SHOWN_BYTES = 200
"""How much is shown of an answer that can't be read."""

_LONGEST_LINE = 16 << 20
"""The longest event of a watch, in bytes. The API server stores no larger object than 3 MB."""


_BY_QUOTA = re.compile(r'[a-z.]+ "[-a-z0-9.]+" is forbidden: (?:exceeded|failed) quota: ')

# Parts of error messages. Their reason is Forbidden, which an admission policy's denial has too.
_HELD_UP = ("exceeded quota", "failed quota", " cannot ", "being terminated")


class KubeError(Exception):
    """The API server refused a request, or didn't answer (``status`` 0)."""

    def __init__(self, verb: str, path: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{verb} {path}: {message or reason or status}")
        self.verb = verb
        self.path = path
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def away(self) -> bool:
        """Whether the server is at fault and not the request, so that asking again makes sense."""
        return self.status in {0, 429} or self.status >= 500

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed a moment later.

        That includes conflicts (of parallel creates under one quota, for instance) and expired
        tokens.
        """
        return self.away or self.status == 401 or (self.status == 409 and not self.exists)

    @property
    def held_up(self) -> bool:
        """Whether a quota, a permission or the end of the namespace is the cause.

        It is told by the message. So ask only about requests in which nobody else's words stand.
        """
        if self.not_found:
            return "namespaces" in self.message
        return self.forbidden and any(sign in self.message for sign in _HELD_UP)

    @property
    def by_quota(self) -> bool:
        """Whether a quota is the cause, by how the API server begins what it says of one.

        Somebody else's words, a policy's or a name's, can only follow another beginning.
        """
        return self.forbidden and _BY_QUOTA.match(self.message) is not None

    @property
    def not_found(self) -> bool:
        """Whether the object, or what it is in, doesn't exist."""
        return self.status == 404

    @property
    def exists(self) -> bool:
        """Whether an object of that name exists already."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def forbidden(self) -> bool:
        """Whether a permission, a quota or a policy forbids the request."""
        return self.status == 403


@dataclass(frozen=True, slots=True)
class _Request:
    """One request. ``verb`` is the verb of Kubernetes permissions, which metrics show as well."""

    verb: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the URL; those with an empty value are left out."""
    body: Json | None = None
    content_type: str = "application/json"


class Kube:
    """An API server. ``on_error`` is called for each failed request, with its verb and status."""

    def __init__(
        self,
        api: client.ApiClient,
        on_error: Callable[[str, int], None] = lambda verb, status: None,
    ) -> None:
        self._api = api
        self._on_error = on_error

    async def get(self, path: str) -> Json:
        """The object at this path. Raises KubeError."""
        return await self._json(_Request("get", "GET", path))

    async def list(
        self, path: str, selector: str = "", trim: Callable[[Json], Json] = lambda item: item
    ) -> tuple[list[Json], str]:
        """All objects that the label selector matches → (items, their resource version).

        The list is consistent. ``trim`` is applied to each item as its page arrives, since
        thousands of whole Jobs would take a hundred megabytes. Raises KubeError.
        """
        items: list[Json] = []
        query = {"limit": str(PAGE), "labelSelector": selector}
        while True:
            request = _Request("list", "GET", path, query)
            page = await self._json(request)
            try:
                items += map(trim, page["items"] or ())
                following = page["metadata"].get("continue")
                version = str(page["metadata"]["resourceVersion"]) if not following else ""
            except (LookupError, TypeError, AttributeError) as error:
                text = f"the answer isn't a list's: {type(error).__name__}: {error}"
                raise self._failed(request, 0, "Malformed", text) from None
            if not following:
                return items, version
            query["continue"] = following

    async def watch(
        self, path: str, selector: str, resource_version: str
    ) -> AsyncIterator[tuple[str, Json]]:
        """Changes since that version → (type, object), until the server ends the watch.

        Raises KubeError. Its status 410 means that a new list is needed.
        """
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        # A server that dies silently never closes the connection: without a limit we would wait on.
        timeout = aiohttp.ClientTimeout(
            total=_WATCH_SECONDS + TIMEOUT_SECONDS, sock_read=_WATCH_SECONDS + TIMEOUT_SECONDS
        )
        request = _Request("watch", "GET", path, query)
        response = await self._send(request, timeout)
        try:
            async for line in _lines(response.content):
                change, item = self._event(request, response.status, line)
                yield change, item
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(request, 0, "", _said(error)) from error
        except ValueError as error:
            raise self._failed(request, response.status, "Malformed", _said(error)) from error
        finally:
            response.close()

    def _event(self, request: _Request, status: int, line: bytes) -> tuple[str, Json]:
        """What a line of a watch says. Raises KubeError for an error, or if it isn't an event."""
        try:
            event = json.loads(line)
            change, item = event["type"], event["object"]
            if change == "ERROR":
                code, reason = int(item.get("code") or 500), str(item.get("reason", ""))
                raise self._failed(request, code, reason, str(item.get("message", "")))
            str(item["metadata"]["resourceVersion"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            shown = line[:_SHOWN_BYTES].decode(errors="replace")
            text = f"the answer isn't a watch's: {shown!r}"
            raise self._failed(request, status, "Malformed", text) from None
        return change, item

    async def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Creates an object → as it was created. A dry run only checks it. Raises KubeError."""
        query = {"dryRun": "All"} if dry_run else {}
        return await self._json(_Request("create", "POST", path, query, body))

    async def replace(self, path: str, body: Json) -> Json:
        """Replaces an object, if it still has the version in the body → as it is now.

        Raises KubeError.
        """
        return await self._json(_Request("update", "PUT", path, body=body))

    async def patch(
        self, path: str, body: Json, *, kind: str = MERGE, manager: str | None = None
    ) -> Json:
        """Changes the fields in the body → the object as it is now.

        With ``kind=APPLY``, ``manager`` becomes the owner of those fields. Raises KubeError.
        """
        query = {"fieldManager": manager, "force": "true"} if manager and kind == APPLY else {}
        return await self._json(_Request("patch", "PATCH", path, query, body, kind))

    async def delete(self, path: str, uid: str) -> bool:
        """Deletes the object if it has this uid → whether it did.

        Kubernetes deletes what the object owns afterwards, in the background. Raises KubeError.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._json(_Request("delete", "DELETE", path, body=body))
        except KubeError as error:
            if error.not_found or error.status == 409:  # gone, or replaced by another of that name
                return False
            raise
        return True

    async def _json(self, request: _Request) -> Json:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        response = await self._send(request, timeout)
        try:
            answer: Any = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            raise self._failed(request, 0, "", _said(error)) from error
        finally:
            response.release()
        if not isinstance(answer, dict):
            shown = str(answer)[:_SHOWN_BYTES]
            raise self._failed(request, 0, "Malformed", f"the answer isn't an object: {shown}")
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
        except (ValueError, AttributeError, RecursionError):
            reason, message = "", text[:_SHOWN_BYTES].decode(errors="replace")
        raise self._failed(request, response.status, reason, message)

    def _failed(self, request: _Request, status: int, reason: str, message: str) -> KubeError:
        """Counts a failure → the error to raise."""
        self._on_error(request.verb, status)
        return KubeError(request.verb, request.path, status, reason, message)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of an answer as they arrive. Empty ones, and one that is cut off, are left out.

    Raises ValueError if a line is too long. aiohttp's own lines may have 128 KB.
    """
    begun = bytearray()
    async for chunk in content.iter_any():
        first, *others = chunk.split(b"\n")
        begun += first
        for other in others:
            if begun.strip():
                yield bytes(begun)
            begun = bytearray(other)
        if len(begun) > _LONGEST_LINE:
            raise ValueError(f"an event has more than {_LONGEST_LINE:,} bytes")


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def connected(
    on_error: Callable[[str, int], None], *, watches: int = 0
) -> AsyncIterator[Kube]:
    """Connects to the API server of the cluster that this pod runs in, else the kubeconfig's.

    ``watches`` is the number of connections that watches occupy all the time.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = CONNECTIONS + watches
    async with client.ApiClient(configuration) as api:
        yield Kube(api, on_error)
