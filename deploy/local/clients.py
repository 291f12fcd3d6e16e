# SPDX-License-Identifier: Apache-2.0
"""Galley's and Citadel's HTTP interfaces with the administrator's token: how the launcher, the demo and the tests change things."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

import common.config.kinds  # noqa: F401 - registers every kind
from common.config.registry import registry
from common.mesh.names import control_plane_dns_name

Document = Mapping[str, Any]


class _Part:
    """HTTPS to one part, checked by its DNS name wherever it is."""

    def __init__(self, part: str, address: str, *, roots: Path, token: str) -> None:
        context = ssl.create_default_context(cafile=str(roots))
        self._client = httpx.AsyncClient(
            base_url=f"https://{address}", verify=context, headers={"Authorization": f"Bearer {token}"}, timeout=15, trust_env=False
        )
        self._extensions = {"sni_hostname": control_plane_dns_name(part)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request; raises httpx.HTTPError only when there is no answer."""
        return await self._client.request(method, path, extensions=self._extensions, **options)


class Citadel(_Part):
    """Citadel's admin interface."""

    def __init__(self, address: str, *, roots: Path, token: str) -> None:
        super().__init__("citadel", address, roots=roots, token=token)

    async def join_file(self, namespace: str, service_account: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """A new single-use token in its join file. Raises httpx.HTTPStatusError."""
        body = {"namespace": namespace, "serviceAccount": service_account, "labels": dict(labels)}
        answer = await self.request("POST", "/v1/tokens", json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["joinFile"]
        return found


class Galley(_Part):
    """Galley's REST interface."""

    def __init__(self, address: str, *, roots: Path, token: str) -> None:
        super().__init__("galley", address, roots=roots, token=token)

    async def batch(self, items: Iterable[Mapping[str, Any]]) -> httpx.Response:
        """Apply `{"document": …, "source": {"file": …, "line": …}}` items, all or nothing. 422 when any is invalid."""
        return await self.request("POST", "/apis/fourmast.io/v1/batch", json={"items": list(items)})

    async def get_text(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        """One object as Galley wrote it. Raises httpx.HTTPStatusError."""
        answer = await self.request("GET", object_path(api_version, kind, namespace, name))
        answer.raise_for_status()
        return answer.text

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        """Delete one object; one that is not there is no error."""
        answer = await self.request("DELETE", object_path(api_version, kind, namespace, name))
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()

    async def objects(self, api_version: str, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind. Raises httpx.HTTPStatusError."""
        answer = await self.request("GET", object_path(api_version, kind, "", ""))
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def changes(self, api_version: str, kind: str) -> httpx.Response:
        """An open watch, to be read by lines and closed by the caller."""
        path = object_path(api_version, kind, "", "")
        request = self._client.build_request("GET", path, params={"watch": "true"}, extensions=self._extensions, timeout=None)
        return await self._client.send(request, stream=True)


def object_path(api_version: str, kind: str, namespace: str, name: str) -> str:
    """The path of an object, or of its collection when `name` is empty. `kind` may be the kind or its plural."""
    found = next((known for known in registry if known.api_version == api_version and kind in (known.name, known.plural)), None)
    if found is None:
        raise ValueError(f"there is no kind {kind} in {api_version}")
    base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    place = f"/namespaces/{namespace}" if namespace and not found.cluster_scoped else ""
    return f"{base}{place}/{found.plural}" + (f"/{name}" if name else "")
