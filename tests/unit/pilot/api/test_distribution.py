# SPDX-License-Identifier: Apache-2.0
"""Who has which version: the real generator, a proxy that answers as the test wants, and what Galley would be told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import common.config.kinds  # noqa: F401 - registers the kinds
from common.config.resource import Resource, ResourceKey, from_document
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.mesh.names import TYPE_CLUSTER, TYPE_ROUTE
from common.registration.reporter import Verdict
from pilot.api.ads import AggregatedDiscovery
from pilot.api.discovery import Discovery
from pilot.api.distribution import Counts, Distribution, Standing, count, standings
from pilot.api.reports import Reports
from pilot.networking import generator
from pilot.xds.queue import Admission
from tests.unit.pilot.api.ads_client import AdsClient

ROUTES = "9080"


def resource(kind: str, name: str, spec: dict[str, Any], version: int) -> Resource[Any]:
    api = {"Service": "v1", "MeshPolicy": "authentication.istio.io/v1alpha1"}.get(kind, "networking.istio.io/v1alpha3")
    place = {} if kind == "MeshPolicy" else {"namespace": "default"}
    document = {"apiVersion": api, "kind": kind, "metadata": {"name": name, **place, "resourceVersion": str(version)}, "spec": spec}
    return from_document(document)


def service(name: str, port: int = 9080) -> Resource[Any]:
    return resource("Service", name, {"ports": [{"name": "http", "port": port}], "selector": {"app": name}, "clusterIP": "240.240.0.9"}, 1)


def virtual_service(version: int, *, timeout: str = "1s", host: str = "reviews") -> Resource[Any]:
    http = [{"timeout": timeout, "route": [{"destination": {"host": host}}]}]
    return resource("VirtualService", "reviews", {"hosts": [host], "http": http}, version)


class Mesh:
    """Pilot's server with its bookkeeping. `told` is what Galley would know: (name, condition) -> (verdict, message)."""

    def __init__(self) -> None:
        self.discovery = Discovery(generator, interval=0.02)
        self.told: dict[tuple[str, str], tuple[Verdict, str]] = {}
        self.reports = Reports(self._take, self.discovery.version_of)
        self.distribution = Distribution(self.discovery, self._take, crowd=0.2)
        self.reports.changed = self.discovery.published = self.distribution.changed
        self.address = ""
        self._held: dict[str, dict[str, Resource[Any]]] = {}

    def _take(self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "") -> None:
        assert resource_version == self.discovery.version_of(key)
        if key != service("reviews").key:  # it bears the name of the VirtualService that the tests ask for
            self.told[key.name, type] = (verdict, message)

    async def apply(self, *resources: Resource[Any]) -> None:
        for each in resources:
            self._held.setdefault(each.kind.collection, {})[each.key.mcp_name] = each
        snapshot = {name: dict(held) for name, held in self._held.items()}
        self.discovery.changed(lambda: snapshot, touched=[each.key for each in resources])
        await self.until(lambda: all(self.discovery.version_of(each.key) == each.metadata.resourceVersion for each in resources))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0.01)

    def counts(self, key: ResourceKey) -> Counts:
        return count(self.discovery, (key,))[key]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Mesh]:
        server = grpc_server()
        admission = Admission(rate=1000, burst=1000)
        server.add_generic_rpc_handlers(
            (AggregatedDiscovery(self.discovery, self.reports, trust_domain="cluster.local", admission=admission),)
        )
        self.address = bind_grpc(server, "127.0.0.1:0", None)
        await server.start()
        tasks = [asyncio.create_task(self.discovery.run()), asyncio.create_task(self.distribution.run())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(0)


class Proxy:
    """It takes routes and clusters; `routes` hears of its routes next."""

    def __init__(self, client: AdsClient) -> None:
        self.client = client

    async def begin(self) -> None:
        for type_url, names in ((TYPE_CLUSTER, ()), (TYPE_ROUTE, (ROUTES,))):
            await self.client.ask(type_url, names)
            await self.client.ack(await self.client.hear())


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh().running() as running:
        await running.apply(service("reviews"), virtual_service(2))
        yield running


@contextlib.asynccontextmanager
async def proxy(mesh: Mesh, name: str = "sleep") -> AsyncIterator[Proxy]:
    async with AdsClient.connected(mesh.address, None, account=name) as client:
        connected = Proxy(client)
        await connected.begin()
        yield connected


async def test_a_version_is_pending_until_its_acknowledgement(mesh: Mesh) -> None:
    key = virtual_service(3).key
    async with proxy(mesh) as sleep:
        await mesh.until(lambda: mesh.counts(key) == Counts(1, 1, 0))
        await mesh.apply(virtual_service(3, timeout="2s"))
        pushed = await sleep.client.hear()
        assert mesh.counts(key) == Counts(1, 0, 0)
        assert [each for _, each in standings(mesh.discovery, key, mesh.discovery.connections.values())] == [Standing.PENDING]
        await mesh.until(lambda: mesh.told.get(("reviews", "Programmed")) == (Verdict.UNKNOWN, "0/1 proxies"))
        await sleep.client.ack(pushed)
        await mesh.until(lambda: mesh.told["reviews", "Programmed"] == (Verdict.TRUE, "1/1 proxies"))
        assert mesh.counts(key) == Counts(1, 1, 0)


async def test_a_version_that_changes_no_resource_is_there_at_once(mesh: Mesh) -> None:
    async with proxy(mesh):
        await mesh.until(lambda: mesh.counts(virtual_service(2).key) == Counts(1, 1, 0))
        await mesh.apply(virtual_service(9))
        await mesh.until(lambda: mesh.counts(virtual_service(9).key) == Counts(1, 1, 0))


async def test_what_nobody_uses_has_no_users(mesh: Mesh) -> None:
    async with proxy(mesh):
        nobody = resource("DestinationRule", "nobody", {"host": "nobody"}, 4)
        await mesh.apply(nobody)
        assert mesh.counts(nobody.key) == Counts(0, 0, 0)
        await mesh.until(lambda: mesh.told.get(("nobody", "Programmed")) == (Verdict.UNKNOWN, "no connected proxy uses it"))


async def test_a_policy_of_the_mesh_is_everybodys(mesh: Mesh) -> None:
    async with proxy(mesh), proxy(mesh, "other"):
        policy = resource("MeshPolicy", "default", {"peers": [{"mtls": {}}]}, 5)
        await mesh.apply(policy)
        assert mesh.counts(policy.key).using == 2


async def test_a_refusal_names_the_change_and_not_what_was_there_before(mesh: Mesh) -> None:
    reviews, old = virtual_service(3).key, service("reviews").key
    async with proxy(mesh) as sleep:
        await mesh.until(lambda: mesh.counts(reviews).acked == 1)
        await mesh.apply(virtual_service(3, timeout="2s"))
        await sleep.client.nack(await sleep.client.hear(), "not like this\n")
        await mesh.until(lambda: mesh.told.get(("reviews", "Programmed")) == (Verdict.FALSE, "0/1 proxies"))
        assert mesh.told["reviews", "Rejected"] == (Verdict.TRUE, f"sleep-1.default refuses RDS {ROUTES}: not like this")
        assert mesh.counts(old).rejected == 0, "the service was accepted before"
        await mesh.apply(virtual_service(4, timeout="3s"))
        await sleep.client.ack(await sleep.client.hear())
        await mesh.until(lambda: mesh.told["reviews", "Programmed"] == (Verdict.TRUE, "1/1 proxies"))


async def test_a_refusal_of_something_else_does_not_hold_up_the_count(mesh: Mesh) -> None:
    async with proxy(mesh) as sleep:
        await mesh.until(lambda: mesh.counts(virtual_service(2).key).acked == 1)
        await mesh.apply(virtual_service(3, timeout="2s"))
        await sleep.client.nack(await sleep.client.hear(), "no")
        await mesh.apply(service("elsewhere", 7000))
        await sleep.client.ack(await sleep.client.hear())
        await mesh.until(lambda: mesh.counts(service("elsewhere", 7000).key) == Counts(1, 1, 0))


async def test_a_new_proxy_is_counted_after_a_while(mesh: Mesh) -> None:
    async with proxy(mesh):
        await mesh.until(lambda: mesh.told.get(("reviews", "Programmed")) == (Verdict.TRUE, "1/1 proxies"))
