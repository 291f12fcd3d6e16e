# SPDX-License-Identifier: Apache-2.0
"""Discovered virtual hosts on the real Envoy, made by the real generator: what reaches the data plane, and that no request pays for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from common.config.resource import Resource
from common.mesh.names import TYPE_CLUSTER, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from common.registration.reporter import Verdict
from pilot.api.discovery import Discovery
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext
from pilot.networking import generator
from pilot.networking.generator import Generated, GroupKey
from pilot.xds.generator import Generator
from pilot.xds.requests import Request
from pilot.xds.stream import Stream
from pilot.xds.subscription import SyncState
from tests.generated_mesh import resources_of
from tests.integration.pilot.served_envoy import Client, Pilot, backend, envoy, eventually, free_port

SETTINGS = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {accessLogFile: "", enableAutoMtls: false, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: default}
spec: {clusterIP: "ADDRESS", selector: {app: NAME}, ports: [{name: http, port: PORT, targetPort: TARGET}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: NAME-1, namespace: default}
spec: {address: 127.0.0.1, labels: {app: NAME}}
"""
RULE = """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: NAME, namespace: default}
spec:
  hosts: [NAME]
  http:
  - match: [{uri: {regex: 'REGEX'}}]
    route: [{destination: {host: TARGET}}]
"""
TOO_BIG = "(abc|def|ghi){40}"
"""A regex that compiles, but not within the 100 instructions that Envoy 1.40 allows where nobody tells it otherwise."""


@dataclass(frozen=True)
class Mesh:
    """Services, and rules that send the requests for one of them to another."""

    services: Mapping[str, tuple[int, int]]
    """Name -> its port, and the port of its one workload."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """Service -> the service that gets its requests."""
    refused: frozenset[str] = frozenset()
    """Services whose rule Envoy will not take."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Services that have a virtual address, by which requests may name them."""

    def resources(self) -> dict[str, dict[str, Resource[Any]]]:
        services = [
            SERVICE.replace("NAME", name)
            .replace("PORT", str(port))
            .replace("TARGET", str(target))
            .replace("ADDRESS", self.addresses.get(name, ""))
            for name, (port, target) in self.services.items()
        ]
        rules = [
            RULE.replace("NAME", name).replace("TARGET", target).replace("REGEX", TOO_BIG if name in self.refused else "/.*")
            for name, target in self.rules.items()
        ]
        return resources_of(SETTINGS, *services, *rules)


def new_pilot(address: str = "127.0.0.1:0", maker: Generator[PushContext, Proxy] = generator) -> Pilot:
    return Pilot(address, Discovery(maker, check=True))


class Spoiling:
    """The generator, but for one port it makes a route configuration that Envoy refuses."""

    def __init__(self, port: int) -> None:
        self._port = str(port)

    plan = staticmethod(generator.plan)
    fingerprint = staticmethod(generator.fingerprint)

    def generate(self, push: PushContext, key: GroupKey, /) -> tuple[Generated, ...]:
        return self._spoil(key, generator.generate(push, key))

    def regenerate(self, push: PushContext, key: GroupKey, /) -> tuple[Generated, ...]:
        return self._spoil(key, generator.regenerate(push, key))

    def _spoil(self, key: GroupKey, found: tuple[Generated, ...]) -> tuple[Generated, ...]:
        return tuple(made._replace(body=self._spoilt) if key.type_url == TYPE_ROUTE and made.name == self._port else made for made in found)

    @property
    def _spoilt(self) -> bytes:
        configuration = RouteConfiguration(name=self._port)
        for name in "ab":
            configuration.virtual_hosts.add(name=name, domains=["*"])
        return configuration.SerializeToString()


@contextlib.asynccontextmanager
async def discovering(folder: Path, pilot: Pilot) -> AsyncIterator[None]:
    async with envoy(folder, pilot.address, delta=True, OUTBOUND_BIND_ADDRESS="127.0.0.1", VIRTUAL_HOST_DISCOVERY="ADS"):
        yield


@contextlib.asynccontextmanager
async def serving(mesh: Mesh, folder: Path, maker: Generator[PushContext, Proxy] = generator) -> AsyncIterator[Pilot]:
    """A Pilot with this mesh and one proxy that discovers virtual hosts."""
    async with new_pilot(maker=maker).running() as pilot:
        pilot.serve(mesh.resources())
        await pilot.discovery.until_published()
        async with discovering(folder, pilot):
            yield pilot


def asks(mesh: Mesh, name: str) -> Client:
    return Client(mesh.services[name][0], f"{name}.default.svc.cluster.local")


def hosts(pilot: Pilot) -> set[str]:
    """The virtual hosts that the proxy was sent."""
    view = pilot.connection.stream.subscriptions[TYPE_VIRTUAL_HOST].view
    return {frame.name for frame in view} if view is not None else set()


@pytest.fixture
async def two() -> AsyncIterator[Mesh]:
    """Services a and b on one port, and who they are is what they answer."""
    port = free_port()
    async with backend("a") as a, backend("b") as b:
        yield Mesh({"a": (port, a), "b": (port, b)})


async def test_changes_of_a_discovered_host_take_effect(two: Mesh, tmp_path: Path) -> None:
    async with serving(two, tmp_path) as pilot:
        a, b = asks(two, "a"), asks(two, "b")
        await eventually(a.answers("a"))
        await eventually(b.answers("b"))
        (port,) = {port for port, _ in two.services.values()}
        named = {f"{port}/{name}.default.svc.cluster.local:{port}" for name in "ab"}
        assert hosts(pilot) == {*named, f"{port}/block_all"}
        acked = pilot.connection.stream.subscriptions[TYPE_ROUTE].nonce_acked
        pilot.serve(replace(two, rules={"a": "b"}).resources())
        await eventually(a.answers("b"))
        pilot.serve(replace(two, services={"b": two.services["b"]}).resources())
        await eventually(lambda: f"{port}/a.default.svc.cluster.local:{port}" not in hosts(pilot))
        await eventually(lambda: pilot.state(TYPE_VIRTUAL_HOST) is SyncState.SYNCED)
        await eventually(b.answers("b"))
        assert pilot.connection.stream.subscriptions[TYPE_ROUTE].nonce_acked == acked, "the route configuration was never sent again"


async def test_a_port_added_later_is_served_at_once(two: Mesh, tmp_path: Path) -> None:
    async with serving(two, tmp_path) as pilot, backend("c") as c:
        await eventually(asks(two, "a").answers("a"))
        more = replace(two, services={**two.services, "c": (free_port(), c)})
        pilot.serve(more.resources())
        await eventually(asks(more, "c").answers("c"), within=2)


@pytest.mark.parametrize("pause", [0.0, 1.0, 2.5])
async def test_a_port_that_was_removed_can_come_back(two: Mesh, tmp_path: Path, pause: float) -> None:
    """Until the listener has drained, for a second, Envoy keeps its routes; then it drops them, and asks for them anew."""
    async with backend("c") as c:
        more = replace(two, services={**two.services, "c": (free_port(), c)})
        async with serving(more, tmp_path) as pilot:
            await eventually(asks(more, "c").answers("c"))
            pilot.serve(two.resources())
            await eventually(asks(more, "c").answers("ConnectError"))
            await asyncio.sleep(pause)
            pilot.serve(more.resources())
            await eventually(asks(more, "c").answers("c"), within=2)
            await eventually(asks(two, "a").answers("a"))


async def test_a_refused_host_is_isolated_and_named_and_the_others_flow(two: Mesh, tmp_path: Path) -> None:
    async with serving(two, tmp_path) as pilot:
        a, b = asks(two, "a"), asks(two, "b")
        await eventually(a.answers("a"))
        pilot.verdicts.clear()
        pilot.serve(replace(two, rules={"a": "b", "b": "a"}, refused=frozenset({"a"})).resources())
        await eventually(b.answers("a"))
        await eventually(lambda: pilot.state(TYPE_VIRTUAL_HOST) is SyncState.REJECTED)
        assert await a.get() == "a", "it keeps what it had"
        assert {name for name, verdict, _ in pilot.verdicts if verdict is Verdict.TRUE} == {"a"}
        (message,) = {text for _, verdict, text in pilot.verdicts if verdict is Verdict.TRUE}
        assert "VHDS" in message and "regex" in message
        nonce = pilot.connection.stream.subscriptions[TYPE_VIRTUAL_HOST].nonce_sent
        await asyncio.sleep(0.5)
        assert pilot.connection.stream.subscriptions[TYPE_VIRTUAL_HOST].nonce_sent == nonce, "no push loop"
        pilot.serve(replace(two, rules={"a": "b"}, refused=frozenset({"a"})).resources())
        await eventually(b.answers("b"))
        pilot.serve(replace(two, rules={"a": "b"}).resources())
        await eventually(a.answers("b"))
        await eventually(lambda: pilot.state(TYPE_VIRTUAL_HOST) is SyncState.SYNCED)
        assert [verdict for name, verdict, _ in pilot.verdicts if name == "a"][-1] is Verdict.FALSE


async def test_a_host_that_is_removed_beside_a_refused_one_is_gone(two: Mesh, tmp_path: Path) -> None:
    """Envoy applies nothing of such an update: were the removal not said again, requests for b would still find its old routes."""
    async with backend("c") as c:
        more = replace(two, services={**two.services, "c": (two.services["a"][0], c)})
        async with serving(more, tmp_path) as pilot:
            await eventually(asks(more, "b").answers("b"))
            left = {name: more.services[name] for name in "ac"}
            pilot.serve(Mesh(left, rules={"a": "c"}, refused=frozenset({"a"})).resources())
            await eventually(lambda: pilot.state(TYPE_VIRTUAL_HOST) is SyncState.REJECTED)
            await eventually(asks(more, "b").answers("502"))
            assert await asks(more, "a").get() == "a"


async def test_a_host_that_takes_a_domain_of_another_is_not_to_blame_for_a_refused_one(two: Mesh, tmp_path: Path) -> None:
    """One by one, a is refused because b still has the domain: no two virtual hosts may. It is right once b has given it up."""
    async with backend("c") as c:
        more = replace(two, services={**two.services, "c": (two.services["a"][0], c)}, addresses={"b": "240.240.0.1"})
        async with serving(more, tmp_path) as pilot:
            client = Client(more.services["a"][0], "240.240.0.1")
            await eventually(client.answers("b"))
            pilot.serve(replace(more, rules={"c": "a"}, refused=frozenset({"c"}), addresses={"a": "240.240.0.1"}).resources())
            await eventually(client.answers("a"))
            await eventually(lambda: pilot.state(TYPE_VIRTUAL_HOST) is SyncState.REJECTED)
            held = pilot.connection.stream.subscriptions[TYPE_VIRTUAL_HOST].trouble
            assert held is not None
            await eventually(lambda: [name.partition("/")[2].partition(".")[0] for name in held.held] == ["c"] and not held.is_trying)


async def test_a_port_added_beside_a_refused_route_configuration_is_served(two: Mesh, tmp_path: Path) -> None:
    """Envoy stops at the one that it refuses, and the virtual hosts of those after it come before anything waits for them."""
    bad = free_port()
    async with serving(two, tmp_path, Spoiling(bad)) as pilot, backend("c") as c:
        await eventually(asks(two, "a").answers("a"))
        ports = {bad, *(free_port() for _ in range(5))}
        more = replace(two, services={**two.services, **{f"c{port}": (port, c) for port in ports}})
        pilot.serve(more.resources())
        for port in ports - {bad}:
            await eventually(asks(more, f"c{port}").answers("c"), within=2)
        assert pilot.state(TYPE_ROUTE) is SyncState.REJECTED


async def test_the_first_update_of_a_port_may_hold_something_refused(two: Mesh, tmp_path: Path) -> None:
    async with serving(replace(two, rules={"a": "b"}, refused=frozenset({"a"})), tmp_path) as pilot:
        await eventually(asks(two, "b").answers("b"))
        await eventually(lambda: pilot.state(TYPE_VIRTUAL_HOST) is SyncState.REJECTED)
        pilot.serve(replace(two, rules={"a": "b"}).resources())
        await eventually(asks(two, "a").answers("b"))


async def test_traffic_survives_a_restart_of_pilot_and_later_changes_arrive(two: Mesh, tmp_path: Path) -> None:
    port = f"127.0.0.1:{free_port()}"
    client, other = asks(two, "a"), asks(two, "b")
    envoys = contextlib.AsyncExitStack()
    async with new_pilot(port).running() as first:
        first.serve(two.resources())
        await first.discovery.until_published()
        await envoys.enter_async_context(discovering(tmp_path, first))
        await eventually(client.answers("a"))
        await eventually(other.answers("b"))
    async with envoys, backend("c") as c:
        async with client.asking_all_the_time(), other.asking_all_the_time(), new_pilot(port).running() as second:
            more = replace(two, services={**two.services, "c": (free_port(), c)}, rules={"a": "c"})
            second.serve(more.resources())  # while nobody was there, c came and a's rule changed
            await eventually(client.answers("c"), 30)
            await eventually(asks(more, "c").answers("c"), within=2)
            await eventually(lambda: second.state(TYPE_VIRTUAL_HOST) is SyncState.SYNCED)
            second.serve(replace(more, rules={"a": "b"}).resources())
            await eventually(client.answers("b"))
        assert set(client.seen) == {"a", "b", "c"}, client.seen
        assert set(other.seen) == {"b"}, other.seen


async def test_envoy_says_which_hosts_it_holds_when_it_comes_back(two: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that only the differences are sent, which the conversations show."""
    requests: list[Request] = []
    take = Stream.receive

    def receive(stream: Stream[Any, Any], request: Request, now: float) -> None:
        requests.append(request)
        take(stream, request, now)

    port = f"127.0.0.1:{free_port()}"
    envoys = contextlib.AsyncExitStack()
    async with new_pilot(port).running() as first:
        first.serve(two.resources())
        await first.discovery.until_published()
        await envoys.enter_async_context(discovering(tmp_path, first))
        await eventually(asks(two, "a").answers("a"))
        await eventually(lambda: first.state(TYPE_VIRTUAL_HOST) is SyncState.SYNCED)
        view = first.connection.stream.subscriptions[TYPE_VIRTUAL_HOST].view
        assert view is not None
        held = {frame.name: frame.version for frame in view}
    monkeypatch.setattr(Stream, "receive", receive)
    async with envoys, new_pilot(port).running() as second:
        second.serve(two.resources())
        await eventually(lambda: any(request.type_url == TYPE_VIRTUAL_HOST for request in requests), 30)
    again = next(request for request in requests if request.type_url == TYPE_VIRTUAL_HOST)
    assert again.known == held and not again.subscribe, "once, for all route configurations"


async def test_no_request_fails_while_hosts_and_clusters_come_and_go(two: Mesh, tmp_path: Path) -> None:
    """For five seconds the requests for a go to one service after another, each of which comes and goes with its host and its cluster."""
    port, target = two.services["b"]
    async with serving(two, tmp_path) as pilot:
        client = asks(two, "a")
        await eventually(client.answers("a"))
        pilot.serve(replace(two, rules={"a": "b"}).resources())
        await eventually(client.answers("b"))
        client.seen.clear()
        async with client.asking_all_the_time():
            end, version = time.monotonic() + 5, 0
            while time.monotonic() < end:
                version += 1
                pilot.serve(replace(two, services={**two.services, f"v{version}": (port, target)}, rules={"a": f"v{version}"}).resources())
                await asyncio.sleep(0.13)
            for type_url in (TYPE_VIRTUAL_HOST, TYPE_CLUSTER):
                await eventually(lambda type_url=type_url: pilot.state(type_url) is SyncState.SYNCED)
            await asyncio.sleep(0.3)
        assert set(client.seen) == {"b"}, client.seen
        assert client.seen["b"] > 300
        assert not pilot.connection.stream.subscriptions[TYPE_CLUSTER].ghosts, "what is gone has been removed in the end"
        assert len(hosts(pilot)) == 4, "a, b, the last one and the catch-all"


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_proxies_that_do_not_say_so_get_whole_route_configurations(two: Mesh, tmp_path: Path, delta: bool) -> None:
    """Without the metadata, or in state-of-the-world, of which Envoy has no virtual host discovery."""
    metadata: dict[str, Any] = {} if delta else {"VIRTUAL_HOST_DISCOVERY": "ADS"}
    async with new_pilot().running() as pilot:
        pilot.serve(two.resources())
        await pilot.discovery.until_published()
        async with envoy(tmp_path, pilot.address, delta=delta, OUTBOUND_BIND_ADDRESS="127.0.0.1", **metadata):
            client = asks(two, "a")
            await eventually(client.answers("a"))
            pilot.serve(replace(two, rules={"a": "b"}).resources())
            await eventually(client.answers("b"))
            assert TYPE_VIRTUAL_HOST not in pilot.connection.stream.subscriptions
            await eventually(lambda: pilot.state(TYPE_LISTENER) is SyncState.SYNCED)
