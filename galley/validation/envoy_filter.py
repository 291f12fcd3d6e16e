# SPDX-License-Identifier: Apache-2.0
"""What an EnvoyFilter must keep to, over its schema: patches that fit their object, in JSON that Envoy 1.40 can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from common.config.kinds.envoy_filter import DeprecatedFilter, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter, ListenerMatch
from common.config.problem import Path, Problem, problem
from galley.validation.envoy_types import envoy_json
from galley.validation.primitives import each, labels, regex

OBJECTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LISTENER": "envoy.config.listener.v3.Listener",
        "FILTER_CHAIN": "envoy.config.listener.v3.FilterChain",
        "NETWORK_FILTER": "envoy.config.listener.v3.Filter",
        "HTTP_FILTER": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        "ROUTE_CONFIGURATION": "envoy.config.route.v3.RouteConfiguration",
        "VIRTUAL_HOST": "envoy.config.route.v3.VirtualHost",
        "HTTP_ROUTE": "envoy.config.route.v3.Route",
        "CLUSTER": "envoy.config.cluster.v3.Cluster",
    }
)
"""`applyTo` to the message that is patched."""

_MATCHES: Final = {
    "listener": frozenset({"LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER"}),
    "routeConfiguration": frozenset({"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"}),
    "cluster": frozenset({"CLUSTER"}),
}
_CONNECTION_MANAGERS: Final = frozenset({"envoy.filters.network.http_connection_manager", "envoy.http_connection_manager"})


def envoy_filter(spec: EnvoyFilter, at: Path) -> Iterator[Problem]:
    if spec.workloadSelector is not None:
        if not spec.workloadSelector.labels:
            yield problem((*at, "workloadSelector"), "a workloadSelector needs labels; leave it out to mean every proxy")
        yield from labels(spec.workloadSelector.labels, (*at, "workloadSelector", "labels"))
    for added, place in each(spec.filters, (*at, "filters")):
        yield from _deprecated_filter(added, place)
    for patch, place in each(spec.configPatches, (*at, "configPatches")):
        yield from _patch(patch, place)


def _deprecated_filter(added: DeprecatedFilter, at: Path) -> Iterator[Problem]:
    position = added.insertPosition
    if position is not None and position.index in ("BEFORE", "AFTER") and not position.relativeTo:
        yield problem((*at, "insertPosition"), f"index {position.index} needs relativeTo: the name of a filter")
    if added.filterType == "INVALID":
        yield problem(at, "filterType is missing: HTTP or NETWORK", expected="HTTP or NETWORK")
    if not added.filterName:
        yield problem(at, "filterName is missing")
    if added.filterConfig is None:
        yield problem(at, "filterConfig is missing")


def _patch(patch: EnvoyConfigObjectPatch, at: Path) -> Iterator[Problem]:
    if patch.applyTo == "INVALID":
        yield problem(at, f"applyTo is missing: what is patched, one of {', '.join(OBJECTS)}")
        return
    if patch.match is not None:
        yield from _match(patch.match, patch.applyTo, (*at, "match"))
    if patch.patch is None:
        yield problem(at, "patch is missing: an operation and its value")
        return
    place = (*at, "patch")
    if patch.patch.operation == "INVALID":
        yield problem(place, "operation is missing: MERGE, ADD, REMOVE, INSERT_BEFORE or INSERT_AFTER")
    if patch.patch.operation == "REMOVE":
        return
    if patch.patch.value is None:
        yield problem(place, f"operation {patch.patch.operation} needs a value")
    else:
        yield from envoy_json(patch.patch.value, OBJECTS[patch.applyTo], (*place, "value"))


def _match(match: EnvoyConfigObjectMatch, apply_to: str, at: Path) -> Iterator[Problem]:
    if match.proxy is not None and match.proxy.proxyVersion:
        yield from regex(match.proxy.proxyVersion, (*at, "proxy", "proxyVersion"))
    for field, objects in _MATCHES.items():
        if getattr(match, field) is not None and apply_to not in objects:
            fitting = next(name for name, fits in _MATCHES.items() if apply_to in fits)
            yield problem((*at, field), f"applyTo {apply_to} is matched by {fitting}, not by {field}", expected=fitting, found=field)
    if match.listener is not None and apply_to in _MATCHES["listener"]:
        yield from _listener(match.listener, apply_to, (*at, "listener"))


def _listener(match: ListenerMatch, apply_to: str, at: Path) -> Iterator[Problem]:
    if match.filterChain is None or (found := match.filterChain.filter) is None:
        return
    place = (*at, "filterChain", "filter")
    if not found.name:
        yield problem(place, "name the network filter to look for")
    if found.subFilter is None:
        return
    if apply_to != "HTTP_FILTER":
        yield problem((*place, "subFilter"), f"subFilter is for applyTo HTTP_FILTER, not for {apply_to}")
    elif found.name and found.name not in _CONNECTION_MANAGERS:
        manager = "envoy.filters.network.http_connection_manager"
        yield problem((*place, "name"), f"HTTP filters stand in {manager}, not in {found.name!r}", expected=manager, found=found.name)
    if not found.subFilter.name:
        yield problem((*place, "subFilter"), "name the HTTP filter to look for")
