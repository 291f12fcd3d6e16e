# SPDX-License-Identifier: Apache-2.0
"""Pilot as a whole: real generator, real listeners, a configuration source of the test's own in Galley's place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import common.config.kinds  # noqa: F401 - registers the kinds
from citadel.authority.api_keys import TokenSigner, new_api_key
from common.config.resource import Resource, from_document
from common.lifecycle import Life
from common.mcp.change import Change, OnChange
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS, TYPE_CLUSTER, TYPE_ENDPOINT
from pilot.app import build
from pilot.settings import PilotSettings
from tests.running_citadel import identity_of, new_authority
from tests.unit.pilot.api.ads_client import AdsClient

AUTHORITY = new_authority()
SIGNER = TokenSigner([new_api_key()])
REVIEWS = "outbound|9080||reviews.default.svc.cluster.local"


def service(name: str) -> Resource[Any]:
    spec = {"ports": [{"name": "http", "port": 9080}], "selector": {"app": name}, "clusterIP": "240.240.0.9"}
    return from_document({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})


def workload(name: str, address: str) -> Resource[Any]:
    return from_document(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "WorkloadEntry",
            "metadata": {"name": f"{name}-1", "namespace": "default", "annotations": {"fourmast.io/registered": "true"}},
            "spec": {"address": address, "labels": {"app": name}, "serviceAccount": name},
        }
    )


class ScriptedGalley:
    """A ConfigSource that says what the test says."""

    def __init__(self, *resources: Resource[Any]) -> None:
        self.first = resources
        self._says: asyncio.Queue[Change] = asyncio.Queue()

    def say(self, *changes: Change) -> None:
        for change in changes:
            self._says.put_nowait(change)

    async def run(self, *, node_id: str, collections: Sequence[str], on_change: OnChange, stopping: asyncio.Event) -> None:
        for collection in collections:
            mine = tuple(resource for resource in self.first if resource.kind.collection == collection)
            await on_change(Change(collection=collection, version=f"{collection}/1", upserts=mine, full=True))
        while True:
            await on_change(await self._says.get())


class SilentGalley:
    """Galley is away."""

    async def run(self, *, stopping: asyncio.Event, **_: Any) -> None:
        await stopping.wait()


@contextlib.asynccontextmanager
async def pilot(state_dir: Path, galley: Any, *, wait: bool = True) -> AsyncIterator[Life]:
    settings = PilotSettings(
        state_dir=state_dir, secure_grpc_address="127.0.0.1:0", http_address="127.0.0.1:0", galley_status_address="", push_interval=0.02
    )
    identity = identity_of(AUTHORITY, ROOT_NAMESPACE, SERVICE_ACCOUNTS["pilot"], api_keys=SIGNER.jwks)
    component = build(settings, config_source=galley, identity=identity)
    life = Life("pilot")
    running = asyncio.create_task(component.run(life))
    try:
        async with asyncio.timeout(10):
            if wait:
                await life.until_ready()
            while "debug" not in life.addresses or "joining" in str(life.reason):
                await asyncio.sleep(0.01)
        yield life
    finally:
        life.stopping.set()
        await asyncio.wait_for(running, 10)


@contextlib.asynccontextmanager
async def sidecar(life: Life) -> AsyncIterator[AdsClient]:
    async with AdsClient.connected(life.addresses["xds"], identity_of(AUTHORITY, "default", "sleep")) as client:
        yield client


def names(resources: Iterable[Any]) -> set[str]:
    return {resource.name for resource in resources}


async def test_configuration_becomes_xds_and_an_endpoint_travels_by_eds_alone(tmp_path: Path) -> None:
    galley = ScriptedGalley(service("reviews"), workload("reviews", "10.0.0.1"))
    async with pilot(tmp_path, galley) as life, sidecar(life) as client:
        await client.ask(TYPE_CLUSTER)
        clusters = await client.hear()
        assert REVIEWS in names(clusters.resources)
        await client.ack(clusters)
        await client.ask(TYPE_ENDPOINT, [REVIEWS])
        endpoints = await client.hear()
        assert b"10.0.0.1" in endpoints.resources[0].resource.value
        await client.ack(endpoints)
        moved = workload("reviews", "10.0.0.2")
        galley.say(Change(collection=moved.kind.collection, version="2", upserts=(moved,)))
        pushed = await client.hear()
        assert pushed.type_url == TYPE_ENDPOINT and b"10.0.0.2" in pushed.resources[0].resource.value


async def test_a_restarted_pilot_serves_the_last_good_set_while_galley_is_away(tmp_path: Path) -> None:
    async with pilot(tmp_path, ScriptedGalley(service("reviews"), workload("reviews", "10.0.0.1"))):
        pass
    async with pilot(tmp_path, SilentGalley()) as life, sidecar(life) as client:
        await client.ask(TYPE_CLUSTER)
        assert REVIEWS in names((await client.hear()).resources)
        async with httpx.AsyncClient(base_url=f"http://{life.addresses['debug']}") as http:
            ready = await http.get("/ready")
        assert ready.status_code == 200 and "last good configuration from disk" in ready.text == life.remark


async def test_a_new_pilot_without_galley_is_not_ready_and_serves_nobody(tmp_path: Path) -> None:
    async with pilot(tmp_path, SilentGalley(), wait=False) as life:
        assert not life.is_ready and "Galley" in str(life.reason)
        async with httpx.AsyncClient(base_url=f"http://{life.addresses['debug']}") as http:
            assert (await http.get("/ready")).status_code == 503
        async with sidecar(life) as client:
            with contextlib.suppress(Exception):
                await client.ask(TYPE_CLUSTER)
            _, details = await client.refusal()
        assert "no configuration yet" in details


async def test_the_debug_pages_take_citadels_tokens(tmp_path: Path) -> None:
    galley = ScriptedGalley(service("reviews"))
    token = SIGNER.sign("me", "admin", namespaces=(), lifetime=timedelta(hours=1), now=datetime.now(UTC))
    async with pilot(tmp_path, galley) as life, httpx.AsyncClient(base_url=f"http://{life.addresses['debug']}") as http:
        assert (await http.get("/debug/configz")).status_code == 401
        answer = await http.get("/debug/configz", headers={"authorization": f"Bearer {token}"})
        assert [(item["kind"], item["metadata"]["name"]) for item in answer.json()] == [("Service", "reviews")]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "256.0.0.1:0"])
async def test_an_address_that_cannot_be_bound_is_a_start_error(tmp_path: Path, address: str) -> None:
    from common.lifecycle.host import StartError

    if address.endswith(":1"):
        sock = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        address = f"127.0.0.1:{sock.sockets[0].getsockname()[1]}"
    settings = PilotSettings(state_dir=tmp_path, secure_grpc_address=address, http_address="")
    identity = identity_of(AUTHORITY, ROOT_NAMESPACE, SERVICE_ACCOUNTS["pilot"])
    with pytest.raises(StartError, match="cannot listen"):
        await build(settings, config_source=SilentGalley(), identity=identity).run(Life("pilot"))
