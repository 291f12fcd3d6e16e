# SPDX-License-Identifier: Apache-2.0
"""Configuration in, Envoy's resources out: what the tests of Pilot's generator share.

`Mesh` holds a snapshot and asks as an Envoy would: CDS and LDS as wildcards, then the endpoints and routes that those name. `bootstrap` turns
the answers into one static configuration, so that the real Envoy can say whether it accepts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

import common.config.kinds  # noqa: F401 - registers the kinds
from common.config.resource import Resource, from_document
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext
from pilot.networking.generator import Generated, generate, plan

MANAGER = "envoy.filters.network.http_connection_manager"
LUA = "<check_cache.lua>"


class ProxyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy as golden inputs write it."""

    type: str = "sidecar"
    namespace: str = "default"
    address: str = "10.1.0.1"
    labels: dict[str, str] = {}
    interception: str = "REDIRECT"
    outboundBind: str = ""
    application: str = "127.0.0.1"
    locality: str = ""
    show: tuple[str, ...] = ("clusters", "listeners", "routes", "endpoints")


def proxy(**fields: Any) -> Proxy:
    """A sidecar of namespace default unless told otherwise; fields as in ProxyDocument."""
    return proxy_of("proxy", msgspec.convert(fields, ProxyDocument))


def proxy_of(name: str, document: ProxyDocument) -> Proxy:
    return Proxy(
        type="router" if document.type == "router" else "sidecar",
        name=name,
        namespace=document.namespace,
        addresses=(document.address,),
        labels=document.labels,
        interception="NONE" if document.interception == "NONE" else "REDIRECT",
        outbound_bind=document.outboundBind,
        application_address=document.application,
        locality=document.locality,
    )


def resources_of(*texts: str) -> dict[str, dict[str, Resource[Any]]]:
    """Resources by collection and MCP name, from YAML texts."""
    found: dict[str, dict[str, Resource[Any]]] = {}
    for text in texts:
        for document in yaml.safe_load_all(text):
            if document:
                resource = from_document(document)
                found.setdefault(resource.kind.collection, {})[resource.key.mcp_name] = resource
    return found


@dataclass(frozen=True)
class Answers:
    """Everything that one proxy gets."""

    clusters: dict[str, cluster_pb2.Cluster]
    listeners: dict[str, listener_pb2.Listener]
    routes: dict[str, route_pb2.RouteConfiguration]
    endpoints: dict[str, endpoint_pb2.ClusterLoadAssignment]
    raw: dict[str, tuple[Generated, ...]]

    def manager(self, listener: str, chain: int = -1) -> hcm_pb2.HttpConnectionManager:
        """The HTTP connection manager of a listener's chain (the last one by default)."""
        return manager_of(self.listeners[listener].filter_chains[chain])


def manager_of(chain: Any) -> hcm_pb2.HttpConnectionManager:
    manager = hcm_pb2.HttpConnectionManager()
    (found,) = [item for item in chain.filters if item.name == MANAGER]
    assert found.typed_config.Unpack(manager)
    return manager


class Mesh:
    """A snapshot that can be asked."""

    push: PushContext

    def __init__(self, *texts: str, previous: Mesh | None = None):
        self.resources = resources_of(*texts)
        self.push = PushContext.build(self.resources, previous.push if previous is not None else None)

    def generated(self, proxy: Proxy, type_url: str, names: Iterable[str] | None = None) -> tuple[Generated, ...]:
        wanted = None if names is None else frozenset(names)
        return tuple(item for key in plan(self.push, proxy, type_url, wanted) for item in generate(self.push, key))

    def ask(self, proxy: Proxy) -> Answers:
        """All four types, following the names as Envoy does."""
        clusters = {item.name: cluster_pb2.Cluster.FromString(item.body) for item in self.generated(proxy, TYPE_CLUSTER)}
        listeners = {item.name: listener_pb2.Listener.FromString(item.body) for item in self.generated(proxy, TYPE_LISTENER)}
        eds = [cluster.name for cluster in clusters.values() if cluster.type == cluster_pb2.Cluster.EDS]
        raw = {
            "clusters": self.generated(proxy, TYPE_CLUSTER),
            "listeners": self.generated(proxy, TYPE_LISTENER),
            "routes": self.generated(proxy, TYPE_ROUTE, route_names(listeners.values())),
            "endpoints": self.generated(proxy, TYPE_ENDPOINT, (name for name in eds if name)),
        }
        return Answers(
            clusters,
            listeners,
            {item.name: route_pb2.RouteConfiguration.FromString(item.body) for item in raw["routes"]},
            {item.name: endpoint_pb2.ClusterLoadAssignment.FromString(item.body) for item in raw["endpoints"]},
            raw,
        )


def route_names(listeners: Iterable[listener_pb2.Listener]) -> set[str]:
    chains = (chain for listener in listeners for chain in listener.filter_chains)
    return {manager_of(chain).rds.route_config_name for chain in chains if any(item.name == MANAGER for item in chain.filters)}


def as_document(message: Message) -> Any:
    """Plain values for YAML. Of access logs only the names are kept, of the Lua filter nothing: both are constant and tested elsewhere."""
    return _abbreviated(json_format.MessageToDict(message, preserving_proto_field_name=True))


def _abbreviated(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _CONSTANTS.get(name, _abbreviated)(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [_abbreviated(inner) for inner in value]
    return value


_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    "default_source_code": lambda _: LUA,
    "access_log": lambda logs: [log["name"] for log in logs],
}


@dataclass(frozen=True)
class Case:
    """One golden input: `proxies` in its first document, resources in the others."""

    proxies: Mapping[str, ProxyDocument]
    mesh: Mesh

    @classmethod
    def read(cls, text: str) -> Case:
        first, *rest = text.split("\n---\n")
        proxies = msgspec.convert(yaml.safe_load(first)["proxies"], dict[str, ProxyDocument])
        return cls(proxies, Mesh(*rest))

    def answers(self) -> dict[str, Answers]:
        return {name: self.mesh.ask(proxy_of(name, document)) for name, document in self.proxies.items()}

    def golden(self) -> str:
        """What each proxy gets, as YAML."""
        shown = {
            name: {kind: [as_document(message) for message in getattr(answers, kind).values()] for kind in self.proxies[name].show}
            for name, answers in self.answers().items()
        }
        return yaml.dump(shown, sort_keys=True, width=140, allow_unicode=True)


def bootstrap(answers: Mapping[str, Answers]) -> dict[str, Any]:
    """One static bootstrap out of many proxies' resources, for `envoy --mode validate`.

    Two listeners may not have one address, so each proxy's get loopback addresses of their own; routes are put in the place of RDS, and
    load assignments become static clusters, because Envoy looks at neither before somebody serves them.
    """
    listeners, clusters = [], [_bootstrap_cluster(name) for name in ("xds-grpc", "sds-grpc", "mixer-check", "mixer-report")]
    for number, (name, answer) in enumerate(sorted(answers.items()), start=1):
        addresses: dict[str, str] = {}
        for listener in answer.listeners.values():
            copy = listener_pb2.Listener()
            copy.CopyFrom(listener)
            copy.name = f"{name}/{listener.name}"
            socket = copy.address.socket_address
            socket.address = addresses.setdefault(socket.address, f"127.{number}.{len(addresses) + 1}.1")
            for chain in copy.filter_chains:
                _inline_routes(chain, answer.routes)
            listeners.append(json_format.MessageToDict(copy, preserving_proto_field_name=True))
        for cluster in answer.clusters.values():
            renamed = cluster_pb2.Cluster()
            renamed.CopyFrom(cluster)
            renamed.name = f"{name}/{cluster.name}"
            clusters.append(json_format.MessageToDict(renamed, preserving_proto_field_name=True))
        for assignment in answer.endpoints.values():
            static = cluster_pb2.Cluster(name=f"{name}/endpoints/{assignment.cluster_name}", type=cluster_pb2.Cluster.STATIC)
            static.load_assignment.CopyFrom(assignment)
            clusters.append(json_format.MessageToDict(static, preserving_proto_field_name=True))
    ads = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}
    return {
        "node": {"id": "sidecar~10.1.0.1~oracle.default~default.svc.cluster.local", "cluster": "oracle"},
        "dynamic_resources": {"ads_config": ads},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _inline_routes(chain: Any, routes: Mapping[str, route_pb2.RouteConfiguration]) -> None:
    for item in chain.filters:
        if item.name == MANAGER:
            manager = hcm_pb2.HttpConnectionManager()
            item.typed_config.Unpack(manager)
            manager.route_config.CopyFrom(routes[manager.rds.route_config_name])
            item.typed_config.Pack(manager)


def _bootstrap_cluster(name: str) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
