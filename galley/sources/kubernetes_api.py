# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server over HTTPS, by kubernetes-asyncio: it knows kubeconfigs, their tokens, certificates and helpers.

Objects stay plain values. Its typed models are of one Kubernetes version; ours are ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from common.config.registry import Kind
from common.lifecycle.host import StartError
from galley.sources.reflector import AbsentError, ApiError, GoneError, Listing, WatchEvent

IN_CLUSTER = "in-cluster"
PAGE = 500  # objects in one answer; kubectl's own
LIST_SECONDS = 60.0
WATCH_GRACE = 30.0
"""How much longer than asked for a watch may live before we end it ourselves."""
CONNECTIONS = 256  # one for each watched kind, and lists beside them


class HttpKubernetesApi:
    """Make it by `connected`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def list_all(self, kind: Kind) -> Listing:
        """All pages as one. Raises as `KubernetesApi` says."""
        items: list[dict[str, Any]] = []
        token, version = "", ""
        while True:
            query = [("limit", str(PAGE)), *([("continue", token)] if token else [])]
            async with self._get(kind, query, seconds=LIST_SECONDS) as answer:
                page = _decoded(await answer.read())
            metadata = page.get("metadata") or {}
            items += page.get("items") or []
            token, version = metadata.get("continue") or "", str(metadata.get("resourceVersion", ""))
            if not token:
                return Listing(version, items)

    async def watch(self, kind: Kind, version: str, *, seconds: float) -> AsyncGenerator[WatchEvent, None]:
        """Raises as `KubernetesApi` says."""
        query = [("watch", "1"), ("resourceVersion", version), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(int(seconds)))]
        async with self._get(kind, query, seconds=seconds + WATCH_GRACE) as answer:
            async for line in _lines(answer):
                event = _decoded(line)
                found = event.get("object") or {}
                if event.get("type") == "ERROR":
                    if found.get("code") == 410:
                        raise GoneError
                    raise ApiError(f"the watch ended: {found.get('message') or found}")
                yield msgspec.convert({"type": event.get("type"), "object": found}, WatchEvent)

    @contextlib.asynccontextmanager
    async def _get(self, kind: Kind, query: list[tuple[str, str]], *, seconds: float) -> AsyncIterator[Any]:
        import aiohttp

        path = f"/apis/{kind.api_version}/{kind.plural}" if kind.group else f"/api/{kind.version}/{kind.plural}"
        try:
            headers = {"Accept": "application/json"}
            url, headers, query = await self._signed(path, headers, query)
            session = self._client.rest_client.pool_manager
            timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
            server = self._client.rest_client.server_hostname
            async with session.get(url, params=query, headers=headers, timeout=timeout, server_hostname=server) as answer:
                await _check(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise ApiError(str(error) or type(error).__name__) from error

    async def _signed(
        self, path: str, headers: dict[str, str], query: list[tuple[str, str]]
    ) -> tuple[str, dict[str, str], list[tuple[str, str]]]:
        """With the credentials of this moment: tokens of a kubeconfig's helper run out and are made anew."""
        await self._client.update_params_for_auth(headers, query, ["BearerToken"])
        return self._client.configuration.host.rstrip("/") + path, headers, query


async def _check(answer: Any) -> None:
    if answer.status == 200:
        return
    said = (await answer.content.read(4096)).decode(errors="replace")
    with contextlib.suppress(msgspec.DecodeError, AttributeError):
        said = msgspec.json.decode(said).get("message", said)
    if answer.status == 404:
        raise AbsentError(said)
    if answer.status == 410:
        raise GoneError(said)
    raise ApiError(f"{answer.status} {answer.reason}: {said.strip()}")


async def _lines(answer: Any) -> AsyncIterator[bytes]:
    """Lines of any length: an object may be larger than the reader's buffer."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line


def _decoded(raw: bytes) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])


@contextlib.asynccontextmanager
async def connected(where: str, *, context: str = "") -> AsyncIterator[HttpKubernetesApi]:
    """The API of a kubeconfig file, or of the cluster around us (`in-cluster`). Nothing is sent yet.

    Raises StartError when the extra is not installed, or the kubeconfig cannot be used.
    """
    try:
        from kubernetes_asyncio import client, config
    except ModuleNotFoundError as error:
        raise StartError("the Kubernetes source needs the extra 'kubernetes' (kubernetes-asyncio); install it") from error
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    try:
        if where == IN_CLUSTER:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        elif not await asyncio.to_thread(Path(where).is_file):
            raise StartError(f"the kubeconfig {where} is not there")
        else:
            await config.load_kube_config(where, context or None, configuration, persist_config=False)
    except config.ConfigException as error:
        raise StartError(f"the Kubernetes API of {where!r} cannot be used: {error}") from error
    async with client.ApiClient(configuration) as api_client:
        yield HttpKubernetesApi(api_client)
