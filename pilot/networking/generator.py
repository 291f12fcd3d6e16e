# SPDX-License-Identifier: Apache-2.0
"""The door of this room: which groups a proxy needs, what a group depends on, and what it contains.

A *group* is a set of Envoy resources that many proxies share. It is generated once per distinct `GroupKey`, never once per proxy,
so a key holds only what really changes the output:

* shared resources hold no proxy address and no identity: certificates are SDS names, the proxy's own names appear nowhere;
* outbound clusters and routes are keyed by *scope* (the namespace whose view it is; later a Sidecar resource) and by proxy type; routes
  and listeners also by which `sourceLabels` conditions the proxy meets, never by its labels;
* virtual hosts are groups of their own for proxies that discover them, with the keys of routes;
* endpoints are keyed by the service and the subset's labels, not by scope, so that all scopes share them; by locality only when
  locality load balancing is on;
* outbound listeners are keyed by scope and interception mode; in NONE mode also by the address on which they are bound;
* inbound resources are keyed by the services that select the workload (ports), the mutual-TLS mode of each port, and the addresses of
  listener and application; replicas share them in REDIRECT mode, because their applications listen on 127.0.0.1 alike;
* gateway resources are keyed by the Gateways that select the proxy;
* listeners that check are keyed also by whether the proxy holds the check filter's text: then they refer to it.

`plan` must be asked again after every push: the groups of a proxy change with configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from typing import NamedTuple

from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.model.destination_rules import effective_policy
from pilot.model.labels import LabelSet, label_set, selects
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext
from pilot.model.scope import Scope
from pilot.networking import groups
from pilot.networking.inbound import Inbound
from pilot.networking.names import ClusterName
from pilot.networking.resource import Generated

__all__ = ["Generated", "GroupKey", "basis", "fingerprint", "generate", "plan", "plan_basis", "regenerate"]


class GroupKey(NamedTuple):
    """Identity of a group. `parts` are values, so equal keys of different pushes mean the same group."""

    type_url: str
    kind: str
    parts: tuple[groups.Group]


def plan(push: PushContext, proxy: Proxy, type_url: str, names: Collection[str] | None) -> tuple[GroupKey, ...]:
    """The groups whose union is the proxy's resources of this type, in sending order.

    `names` are the explicitly subscribed names (EDS, RDS; for virtual hosts those of the route configurations that they belong to);
    None is a wildcard (CDS, LDS). Every subscribed name of RDS and EDS is answered,
    with an empty resource when nothing is known about it, so that Envoy never waits. Pass a frozenset to have the result remembered.
    """
    if type_url == TYPE_CLUSTER:
        return tuple(GroupKey(type_url, "clusters", (group,)) for group in _clusters(push, proxy))
    if type_url == TYPE_LISTENER:
        return tuple(GroupKey(type_url, "listeners", (group,)) for group in _listeners(push, proxy))
    if type_url == TYPE_ROUTE:
        return tuple(GroupKey(type_url, "routes", (_routes(push, proxy, name),)) for name in sorted(names or ()))
    if type_url == TYPE_VIRTUAL_HOST:
        ports = sorted(name for name in names or () if _is_discovered(proxy, name))
        return tuple(
            GroupKey(type_url, "virtual hosts", (groups.OutboundVirtualHosts(proxy.namespace, int(port), _met(push, proxy)),))
            for port in ports
        )
    if type_url == TYPE_ENDPOINT:
        locality = proxy.locality if push.mesh.localityLbSetting is not None else ""
        scope = push.scope(proxy.namespace, router=proxy.type == "router")
        if not isinstance(names, frozenset):
            return _endpoints(scope, locality, names or ())
        key = ("endpoints", scope.targets_digest, locality, names)
        return push.memo.get(key, lambda: _endpoints(scope, locality, names))
    return ()


def _clusters(push: PushContext, proxy: Proxy) -> Iterator[groups.Group]:
    sidecar = proxy.type == "sidecar"
    yield groups.OutboundClusters(proxy.namespace, sidecar, sidecar and proxy.interception == "REDIRECT")
    if sidecar:
        yield groups.InboundClusters(_inbound(push, proxy))


def _listeners(push: PushContext, proxy: Proxy) -> Iterator[groups.Group]:
    if proxy.type == "router":
        bind = proxy.address if proxy.interception == "NONE" else ""
        yield groups.GatewayListeners(proxy.namespace, push.gateways.selecting(proxy.labels), bind, proxy.holds_script)
        return
    yield groups.InboundListeners(_inbound(push, proxy), proxy.holds_script)
    yield groups.OutboundListeners(proxy.namespace, proxy.outbound_bind, _met(push, proxy))


def _routes(push: PushContext, proxy: Proxy, name: str) -> groups.Group:
    if proxy.type == "router":
        return groups.GatewayRoutes(proxy.namespace, push.gateways.selecting(proxy.labels), name)
    if _is_discovered(proxy, name):
        return groups.DiscoveredRoutes(name)
    port = name.rpartition(":")[2]
    if port.isdecimal():
        return groups.OutboundRoutes(proxy.namespace, name, int(port), _met(push, proxy))
    inbound = next((port for port in _inbound(push, proxy).ports if port.cluster == name), None)
    return groups.InboundRoutes(name, inbound)


def _is_discovered(proxy: Proxy, name: str) -> bool:
    """Whether the proxy discovers the virtual hosts of this route configuration. It must have one at all times, or Envoy would wait for it:
    that of an outbound port has its catch-all; inbound ones and those of a single sniffed service are sent whole.
    """
    return proxy.discovers_virtual_hosts and proxy.type == "sidecar" and name.isdecimal()


def _endpoints(scope: Scope, locality: str, names: Collection[str]) -> tuple[GroupKey, ...]:
    return tuple(GroupKey(TYPE_ENDPOINT, "endpoints", (_endpoint_group(scope, locality, name),)) for name in sorted(names))


def _endpoint_group(scope: Scope, locality: str, name: str) -> groups.Endpoints:
    parsed = ClusterName.parse(name)
    service = scope.by_host.get(parsed.host) if parsed is not None and parsed.direction == "outbound" else None
    if parsed is None or service is None:
        return groups.Endpoints(name)
    rule = scope.destination_rule(service) if parsed.subset or locality else None
    labels: LabelSet | None = ()
    if parsed.subset:
        subset = rule.subsets.get(parsed.subset) if rule is not None else None
        labels = label_set(subset.labels) if subset is not None else None
    detects_failure = bool(locality) and effective_policy(rule, parsed.subset, parsed.port).outlier_detection is not None
    return groups.Endpoints(name, service.key, parsed.port, labels, locality, detects_failure)


def _inbound(push: PushContext, proxy: Proxy) -> Inbound:
    key = ("inbound", push.authentication_digest, push.serving_digest(proxy.namespace), proxy.view)
    return push.memo.get(key, lambda: Inbound.of(push, proxy))


def _met(push: PushContext, proxy: Proxy) -> tuple[LabelSet, ...]:
    """Which `sourceLabels` conditions the proxy meets."""
    conditions = push.scope(proxy.namespace).source_label_sets
    return tuple(condition for condition in conditions if selects(dict(condition), proxy.labels))


def plan_basis(push: PushContext, type_url: str) -> Hashable:
    """Equal in two pushes only if `plan` answers alike for every proxy and names: what proxies need, not how it looks."""
    catalog = push.catalog
    if type_url == TYPE_ENDPOINT:
        return (catalog.digest, push.destinations, push.sidecars, push.mesh.localityLbSetting is None)
    inbound = (catalog.digest, catalog.all_serving_digest, push.authentication_digest)
    if type_url == TYPE_CLUSTER:
        return inbound
    return (*inbound, push.gateways, push.sidecars, push.routing if push.routing.has_source_labels else None)


def basis(push: PushContext, type_url: str) -> Hashable:
    """Equal in two pushes only if `plan` and `fingerprint` answer alike for every proxy and key of this type: nobody need be asked again."""
    catalog = push.catalog
    if type_url == TYPE_ENDPOINT:
        return (catalog, push.destinations, push.sidecars, push.authentication_digest, push.locality_digest)
    inbound = (push.mesh_digest, catalog.digest, catalog.all_serving_digest, push.sidecars, push.authentication_digest)
    if type_url == TYPE_CLUSTER:
        return (*inbound, push.destinations, catalog.accounts_digest, catalog.inlined_digest)
    return (*inbound, push.destinations, push.routing, push.gateways, push.check_digest)


def fingerprint(push: PushContext, key: GroupKey) -> Hashable:
    """A cheap value: equal fingerprints of one key in two pushes mean equal output."""
    return key.parts[0].fingerprint(push)


def generate(push: PushContext, key: GroupKey) -> tuple[Generated, ...]:
    """The resources of a group. Pure and deterministic: same snapshot content and key, same bytes. Never raises for bad configuration.

    Groups with the same content may be handed the same tuple.
    """
    resources = key.parts[0].generate(push)
    if isinstance(resources, tuple):
        return resources
    seen: dict[str, Generated] = {}
    for resource in resources:
        seen.setdefault(resource.name, resource)
    return tuple(seen.values())


def regenerate(push: PushContext, key: GroupKey) -> tuple[Generated, ...]:
    """`generate` without anything that was remembered from other groups or pushes: the proof that what is remembered is right."""
    return generate(push.afresh(), key)
