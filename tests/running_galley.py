# SPDX-License-Identifier: Apache-2.0
"""A real Galley inside a test: mutual TLS and API tokens of the test's own authority, free loopback ports, no Citadel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from citadel.authority.api_keys import TokenSigner, new_api_key
from citadel.authority.issuing import Authority
from common.identity.https import https_client
from common.identity.material import WorkloadIdentity
from common.identity.tokens import Role
from common.lifecycle import Life
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS
from galley.app import GalleyComponent, build
from galley.settings import GalleySettings
from tests.running_citadel import RunningCitadel, identity_of, new_authority

authority: Authority = new_authority()
signer = TokenSigner([new_api_key()])

_LOOPBACK = dict.fromkeys(("rest_address", "mcp_address", "registration_address"), "127.0.0.1:0")


def api_token(role: Role = "admin", *namespaces: str, name: str = "") -> str:
    return signer.sign(name or role, role, namespaces=namespaces, lifetime=timedelta(hours=1), now=datetime.now(UTC))


def document(kind: str, name: str, spec: dict[str, Any], *, namespace: str = "default", api: str = "") -> dict[str, Any]:
    """A document of one of the kinds that tests use most."""
    apis = {
        "Service": "v1",
        "handler": "config.istio.io/v1alpha2",
        "rule": "config.istio.io/v1alpha2",
        "MeshConfig": "mesh.istio.io/v1alpha1",
    }
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api or apis.get(kind, "networking.istio.io/v1alpha3"), "kind": kind, "metadata": metadata, "spec": spec}


def virtual_service(name: str = "reviews", *, host: str = "reviews", namespace: str = "default") -> dict[str, Any]:
    spec = {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]}
    return document("VirtualService", name, spec, namespace=namespace)


def service(name: str = "reviews", *, namespace: str = "default") -> dict[str, Any]:
    return document("Service", name, {"ports": [{"name": "http", "port": 9080}], "selector": {"app": name}}, namespace=namespace)


@dataclass(frozen=True)
class RunningGalley:
    """A Galley that serves."""

    component: GalleyComponent
    life: Life

    @property
    def addresses(self) -> Mapping[str, str]:
        return self.life.addresses

    def rest(self, token: str | None = None) -> httpx.AsyncClient:
        """A client of the REST interface; the administrator's unless a token (or "" for none) is given."""
        bearer = api_token() if token is None else token
        return https_client(self.addresses["rest"], part="galley", roots_pem=authority.bundle_pem, token=bearer)

    async def apply(self, *documents: dict[str, Any]) -> dict[str, Any]:
        """Batch-apply as administrator; the batch must be taken."""
        async with self.rest() as client:
            answer = await client.post("/apis/fourmast.io/v1/batch", json={"items": [{"document": d} for d in documents]})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def wipe(self) -> None:
        """Delete every object, for the next test."""
        async with self.rest() as client:
            answer = await client.post("/apis/fourmast.io/v1/rollback", json={"revision": 0})
        assert answer.status_code == 200, answer.text


def galley_identity() -> WorkloadIdentity:
    return identity_of(authority, ROOT_NAMESPACE, SERVICE_ACCOUNTS["galley"], api_keys=signer.jwks)


@contextlib.asynccontextmanager
async def running_galley(state_dir: Path, *, identity: WorkloadIdentity | None = None, **settings: Any) -> AsyncIterator[RunningGalley]:
    """Serve until the block is left; it is ready unless `when_locked="wait"` makes it stand by."""
    component = build(GalleySettings(state_dir=state_dir, **{**_LOOPBACK, **settings}), identity=identity or galley_identity())
    async with _serving(component, standing_by=settings.get("when_locked") == "wait") as running:
        yield running


@contextlib.asynccontextmanager
async def joined_galley(state_dir: Path, citadel: RunningCitadel, **settings: Any) -> AsyncIterator[RunningGalley]:
    """The same, as a part of the mesh of a real Citadel, whose tokens it takes."""
    joining = {"join_file": citadel.state_dir / "join/galley.json", "citadel_address": citadel.addresses["csr"]}
    renewing = {"citadel_renewal_address": citadel.addresses["renewal"]}
    component = build(GalleySettings(state_dir=state_dir, **{**_LOOPBACK, **joining, **renewing, **settings}))
    async with _serving(component, standing_by=False) as running:
        yield running


@contextlib.asynccontextmanager
async def _serving(component: GalleyComponent, *, standing_by: bool) -> AsyncIterator[RunningGalley]:
    life = Life("galley")
    serving = asyncio.create_task(component.run(life))
    reached = asyncio.create_task(_until_serving(life, standing_by=standing_by))
    await asyncio.wait((serving, reached), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        reached.cancel()
        await serving
    try:
        yield RunningGalley(component, life)
    finally:
        life.stopping.set()
        await asyncio.wait_for(serving, 30)


async def _until_serving(life: Life, *, standing_by: bool) -> None:
    while not (life.is_ready or (standing_by and "stands by" in (life.reason or ""))):
        await asyncio.sleep(0.01)
