# SPDX-License-Identifier: Apache-2.0
"""Registers the kinds of networking.istio.io and gathers their types, one module a kind."""

from __future__ import annotations

from common.config.kinds.destination_rule import (
    ConnectionPoolSettings,
    ConsistentHash,
    DestinationRule,
    HTTPCookie,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    Subset,
    TcpKeepalive,
    TCPSettings,
    TLSSettings,
    TrafficPolicy,
)
from common.config.kinds.envoy_filter import EnvoyFilter
from common.config.kinds.gateway import Gateway, Server, ServerTLSOptions
from common.config.kinds.message import NamedPortSelector, Percent, Port, PortSelector, StringMatch, WorkloadSelector
from common.config.kinds.service_entry import ServiceEntry, WorkloadEntry
from common.config.kinds.sidecar import IstioEgressListener, IstioIngressListener, OutboundTrafficPolicy, Sidecar
from common.config.kinds.virtual_service import (
    Abort,
    CorsPolicy,
    Delay,
    Destination,
    HeaderOperations,
    Headers,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from common.config.registry import Kind, registry

_GROUP, _VERSION = "networking.istio.io", "v1alpha3"


def _kind(name: str, plural: str, spec: type, *short_names: str) -> Kind:
    collection = f"istio/networking/{_VERSION}/{plural}"
    return registry.add(
        Kind(group=_GROUP, version=_VERSION, name=name, plural=plural, collection=collection, spec=spec, short_names=short_names)
    )


VIRTUAL_SERVICE = _kind("VirtualService", "virtualservices", VirtualService, "vs")
DESTINATION_RULE = _kind("DestinationRule", "destinationrules", DestinationRule, "dr")
GATEWAY = _kind("Gateway", "gateways", Gateway, "gw")
SERVICE_ENTRY = _kind("ServiceEntry", "serviceentries", ServiceEntry, "se")
SIDECAR = _kind("Sidecar", "sidecars", Sidecar)
ENVOY_FILTER = _kind("EnvoyFilter", "envoyfilters", EnvoyFilter)
WORKLOAD_ENTRY = _kind("WorkloadEntry", "workloadentries", WorkloadEntry, "we")

__all__ = [
    "DESTINATION_RULE",
    "ENVOY_FILTER",
    "GATEWAY",
    "SERVICE_ENTRY",
    "SIDECAR",
    "VIRTUAL_SERVICE",
    "WORKLOAD_ENTRY",
    "Abort",
    "ConnectionPoolSettings",
    "ConsistentHash",
    "CorsPolicy",
    "Delay",
    "Destination",
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "HTTPCookie",
    "HTTPFaultInjection",
    "HTTPMatchRequest",
    "HTTPRedirect",
    "HTTPRetry",
    "HTTPRewrite",
    "HTTPRoute",
    "HTTPRouteDestination",
    "HTTPSettings",
    "HeaderOperations",
    "Headers",
    "IstioEgressListener",
    "IstioIngressListener",
    "L4MatchAttributes",
    "LoadBalancerSettings",
    "NamedPortSelector",
    "OutboundTrafficPolicy",
    "OutlierDetection",
    "Percent",
    "Port",
    "PortSelector",
    "PortTrafficPolicy",
    "RouteDestination",
    "Server",
    "ServerTLSOptions",
    "ServiceEntry",
    "Sidecar",
    "StringMatch",
    "Subset",
    "TCPRoute",
    "TCPSettings",
    "TLSMatchAttributes",
    "TLSRoute",
    "TLSSettings",
    "TcpKeepalive",
    "TrafficPolicy",
    "VirtualService",
    "WorkloadEntry",
    "WorkloadSelector",
]
