# SPDX-License-Identifier: Apache-2.0
"""Small worlds of Envoy resources, the generator that serves them, and one end of a conversation to hold with a Stream."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.networking.generator import Generated, GroupKey
from pilot.xds.cache import Epoch
from pilot.xds.names import NameSets
from pilot.xds.notices import Notice
from pilot.xds.requests import Request
from pilot.xds.stream import Send, Stream

CDS, EDS, LDS, RDS, VHDS = "CDS", "EDS", "LDS", "RDS", "VHDS"
TYPES = {CDS: TYPE_CLUSTER, EDS: TYPE_ENDPOINT, LDS: TYPE_LISTENER, RDS: TYPE_ROUTE, VHDS: TYPE_VIRTUAL_HOST}
SHORT = {url: short for short, url in TYPES.items()}
SETS = NameSets()
DISCOVERED = "discovered"
"""The text of a route configuration whose virtual hosts are discovered."""


@dataclass(frozen=True)
class World:
    """Names to texts: a text is whatever distinguishes one version from another."""

    clusters: Mapping[str, str] = field(default_factory=dict)
    """All are EDS clusters except those whose text starts with `static`."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    listeners: Mapping[str, str] = field(default_factory=dict)
    """Listener -> name of its route configuration, after an optional `version:`."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """Route configuration -> the cluster it leads to, after an optional `version:`; or DISCOVERED."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Virtual host, called `route configuration/name` -> the cluster it leads to, after an optional `version:`."""

    def but(self, **changes: Mapping[str, str]) -> World:
        return replace(self, **changes)


def cluster(name: str, text: str) -> bytes:
    message = Cluster(name=name, alt_stat_name=text)
    if not text.startswith("static"):
        message.type = Cluster.EDS
        message.eds_cluster_config.eds_config.ads.SetInParent()
    return message.SerializeToString(deterministic=True)


def endpoints(name: str, text: str) -> bytes:
    message = ClusterLoadAssignment(cluster_name=name)
    if text:
        message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address.address = text
    return message.SerializeToString(deterministic=True)


def listener(name: str, text: str) -> bytes:
    return Listener(name=name, stat_prefix=text).SerializeToString(deterministic=True)


def route(name: str, text: str) -> bytes:
    message = RouteConfiguration(name=name)
    if text == DISCOVERED:
        message.vhds.config_source.ads.SetInParent()
    elif text:
        message.virtual_hosts.add(name=text)
    return message.SerializeToString(deterministic=True)


def virtual_host(name: str, text: str) -> bytes:
    return VirtualHost(name=name, domains=[text]).SerializeToString(deterministic=True)


def route_of(host: str) -> str:
    """The route configuration of a virtual host."""
    return host.rpartition("/")[0]


def group_key(type_url: str, kind: str, *parts: str) -> GroupKey:
    """A key of this world; what the parts of a key are is the generator's affair."""
    return GroupKey(type_url, kind, cast(Any, parts))


class WorldGenerator:
    """CDS and LDS in one group each, EDS and RDS one group for each name, VHDS one for each route configuration. Counts its work."""

    def __init__(self) -> None:
        self.generated: list[GroupKey] = []
        self.failing: set[Hashable] = set()

    def plan(self, push: World, proxy: str, type_url: str, names: Collection[str] | None) -> tuple[GroupKey, ...]:
        if names is None:
            return (group_key(type_url, "all"),)
        if type_url == TYPE_VIRTUAL_HOST:
            names = [name for name in names if push.routes.get(name) == DISCOVERED]
        return tuple([group_key(type_url, "one", name) for name in sorted(names)])

    def _texts(self, push: World, key: GroupKey) -> Mapping[str, str]:
        if key.type_url == TYPE_VIRTUAL_HOST:
            return {name: text for name, text in push.hosts.items() if route_of(name) == str(key.parts[0])}
        texts = {TYPE_CLUSTER: push.clusters, TYPE_ENDPOINT: push.endpoints, TYPE_LISTENER: push.listeners, TYPE_ROUTE: push.routes}[
            key.type_url
        ]
        return texts if key.kind == "all" else {str(key.parts[0]): texts.get(str(key.parts[0]), "")}

    def fingerprint(self, push: World, key: GroupKey) -> Hashable:
        return tuple(sorted(self._texts(push, key).items()))

    def generate(self, push: World, key: GroupKey) -> tuple[Generated, ...]:
        self.generated.append(key)
        if key in self.failing:
            raise RuntimeError("this key cannot be generated")
        make = {TYPE_CLUSTER: cluster, TYPE_ENDPOINT: endpoints, TYPE_LISTENER: listener, TYPE_ROUTE: route}.get(key.type_url, virtual_host)
        return tuple(
            Generated(name, make(name, text), (ResourceKey("tests", "default", name),))
            for name, text in sorted(self._texts(push, key).items())
        )

    def regenerate(self, push: World, key: GroupKey) -> tuple[Generated, ...]:
        return self.generate(push, key)


@dataclass(frozen=True)
class Heard:
    """A response, decoded by protobuf and not by the code under test."""

    type: str
    names: tuple[str, ...]
    removed: tuple[str, ...] = ()
    nonce: str = field(default="", compare=False)
    bodies: Mapping[str, bytes] = field(default_factory=dict, compare=False)
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)


def decode(send: Send, *, delta: bool) -> Heard:
    if delta:
        message = DeltaDiscoveryResponse.FromString(send.payload)
        bodies = {resource.name: resource.resource.value for resource in message.resources}
        versions = {resource.name: resource.version for resource in message.resources}
        assert len(bodies) == len(message.resources), "a resource stands twice in one response: Envoy refuses it all"
        return Heard(SHORT[message.type_url], tuple(bodies), tuple(message.removed_resources), message.nonce, bodies, versions)
    whole = DiscoveryResponse.FromString(send.payload)
    kinds: dict[str, Any] = {
        TYPE_CLUSTER: Cluster,
        TYPE_ENDPOINT: ClusterLoadAssignment,
        TYPE_LISTENER: Listener,
        TYPE_ROUTE: RouteConfiguration,
    }
    bodies = {}
    for resource in whole.resources:
        parsed = kinds[whole.type_url].FromString(resource.value)
        name = parsed.cluster_name if whole.type_url == TYPE_ENDPOINT else parsed.name
        assert name not in bodies, "a resource stands twice in one response"
        bodies[name] = resource.value
    return Heard(SHORT[whole.type_url], tuple(bodies), (), whole.nonce, bodies)


class Talk:
    """A conversation: say something as the proxy would, then look at what is heard."""

    def __init__(self, world: World, *, delta: bool, interval: float = 0.1) -> None:
        self.generator = WorldGenerator()
        self.now = 1000.0
        self.delta = delta
        self.epoch: Epoch[World, str] = Epoch(world, self.generator, version="v1", check=True)
        self.stream: Stream[World, str] = Stream("proxy", self.epoch, delta=delta, sets=SETS, interval=interval)
        self.last: dict[str, Heard] = {}
        self.seen: list[Notice] = []

    def world(self, world: World) -> None:
        self.epoch = Epoch(world, self.generator, version=f"v{self.epoch.number + 1}", previous=self.epoch, check=True)
        self.stream.offer(self.epoch)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def asks(self, kind: str, *names: str, known: Mapping[str, str] | None = None) -> None:
        """Subscribe (delta), or name the whole subscription without a nonce (state-of-the-world)."""
        chosen = SETS.intern(names)
        if self.delta:
            self._say(Request(TYPES[kind], subscribe=chosen, known=known or {}))
        else:
            self._say(Request(TYPES[kind], names=chosen))

    def drops(self, kind: str, *names: str) -> None:
        self._say(Request(TYPES[kind], unsubscribe=SETS.intern(names)))

    def acks(self, kind: str, names: Iterable[str] = (), *, heard: Heard | None = None) -> None:
        self._say(Request(TYPES[kind], nonce=(heard or self.last[kind]).nonce, names=None if self.delta else SETS.intern(names)))

    def nacks(self, kind: str, message: str, names: Iterable[str] = ()) -> None:
        self._say(Request(TYPES[kind], nonce=self.last[kind].nonce, error=message, names=None if self.delta else SETS.intern(names)))

    def _say(self, request: Request) -> None:
        self.stream.receive(request, self.now)

    def hears(self) -> Heard | None:
        send = self.stream.next(self.now)
        self.seen += self.stream.notices()
        if send is None:
            return None
        heard = decode(send, delta=self.delta)
        assert heard.nonce == send.nonce
        self.last[heard.type] = heard
        return heard

    def connected(self) -> Talk:
        """A proxy that subscribed to all there is and acknowledged everything."""
        world = self.epoch.push
        for kind, names in (
            (CDS, ()),
            (EDS, tuple(n for n, text in world.clusters.items() if not text.startswith("static"))),
            (LDS, ()),
            (RDS, tuple(world.routes)),
            *([(VHDS, ())] if self.delta and world.hosts else []),
        ):
            if kind in (EDS, RDS) and not names:
                continue
            self.asks(kind, *names)
            assert self.hears() is not None
            self.acks(kind, names)
        assert self.hears() is None
        self.pass_time(10)
        return self
