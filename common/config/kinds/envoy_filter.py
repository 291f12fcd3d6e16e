# SPDX-License-Identifier: Apache-2.0
"""EnvoyFilter: patches on what Pilot generates for Envoy. It can run code in a proxy, so only administrators may write one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from common.config.kinds.message import Message, WorkloadSelector

PatchContext = Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"]
ApplyTo = Literal[
    "INVALID",
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
]
Operation = Literal["INVALID", "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER"]


class ProxyMatch(Message, frozen=True, kw_only=True):
    """`proxyVersion` is a regex; a proxy without a version never matches. `metadata` compares the node's raw metadata."""

    proxyVersion: str = ""
    metadata: dict[str, str] = {}


class SubFilterMatch(Message, frozen=True, kw_only=True):
    name: str = ""


class FilterMatch(Message, frozen=True, kw_only=True):
    """`subFilter` names an HTTP filter inside the HTTP connection manager."""

    name: str = ""
    subFilter: SubFilterMatch | None = None


class FilterChainMatch(Message, frozen=True, kw_only=True):
    """`name` and `applicationProtocols` are accepted and, as in Istio 1.4, have no effect."""

    name: str = ""
    sni: str = ""
    transportProtocol: str = ""
    applicationProtocols: str = ""
    filter: FilterMatch | None = None


class ListenerMatch(Message, frozen=True, kw_only=True):
    """`portName` is accepted and, as in Istio 1.4, has no effect."""

    name: str = ""
    portNumber: int = 0
    portName: str = ""
    filterChain: FilterChainMatch | None = None


class RouteMatch(Message, frozen=True, kw_only=True):
    name: str = ""
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"


class VirtualHostMatch(Message, frozen=True, kw_only=True):
    name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(Message, frozen=True, kw_only=True):
    """`portName` and `gateway` (`namespace/name`) are for gateways only."""

    name: str = ""
    portNumber: int = 0
    portName: str = ""
    gateway: str = ""
    vhost: VirtualHostMatch | None = None


class ClusterMatch(Message, frozen=True, kw_only=True):
    """`name` alone decides when it is set; the others are compared with the parts of the cluster's name."""

    name: str = ""
    service: str = ""
    subset: str = ""
    portNumber: int = 0


class EnvoyConfigObjectMatch(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("listener", "routeConfiguration", "cluster"),)

    context: PatchContext = "ANY"
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    routeConfiguration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None


class Patch(Message, frozen=True, kw_only=True):
    """`value` is Envoy's own v3 JSON of the object that `applyTo` names."""

    operation: Operation = "INVALID"
    value: dict[str, Any] | None = None


class EnvoyConfigObjectPatch(Message, frozen=True, kw_only=True):
    applyTo: ApplyTo = "INVALID"
    match: EnvoyConfigObjectMatch | None = None
    patch: Patch | None = None


class DeprecatedListenerMatch(Message, frozen=True, kw_only=True):
    portNumber: int = 0
    portNamePrefix: str = ""
    listenerType: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"] = "ANY"
    listenerProtocol: Literal["ALL", "HTTP", "TCP"] = "ALL"
    address: tuple[str, ...] = ()


class InsertPosition(Message, frozen=True, kw_only=True):
    index: Literal["FIRST", "LAST", "BEFORE", "AFTER"] = "FIRST"
    relativeTo: str = ""


class DeprecatedFilter(Message, frozen=True, kw_only=True):
    """Istio 1.2's way of adding a filter; use `configPatches`."""

    listenerMatch: DeprecatedListenerMatch | None = None
    insertPosition: InsertPosition | None = None
    filterType: Literal["INVALID", "HTTP", "NETWORK"] = "INVALID"
    filterName: str = ""
    filterConfig: dict[str, Any] | None = None


class EnvoyFilter(Message, frozen=True, kw_only=True):
    """Those of the root namespace are applied first, then those of the proxy's namespace, each by age."""

    workloadSelector: WorkloadSelector | None = None
    configPatches: tuple[EnvoyConfigObjectPatch, ...] = ()
    workloadLabels: dict[str, str] = {}
    """Deprecated spelling of `workloadSelector`."""
    filters: tuple[DeprecatedFilter, ...] = ()
    """Deprecated: use `configPatches`."""
