# SPDX-License-Identifier: Apache-2.0
"""The routes of one VirtualService at one place, and the route of a service that has none.

A route that Envoy would refuse (a regex that does not compile, a redirect code that it does not know, weights that sum to nothing) is left out; its
neighbours stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from envoy.config.route.v3 import route_components_pb2

from common.config.kinds.networking import (
    Destination,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRoute,
    HTTPRouteDestination,
)
from pilot.model.destination_rules import effective_policy
from pilot.model.scope import Scope
from pilot.model.service import Port, Service
from pilot.model.virtual_services import RoutingRule
from pilot.networking.check import CheckSettings
from pilot.networking.mixerclient import INTERNAL_HEADERS, SERVICE_METADATA, MeshService, forwarded_service, service_metadata
from pilot.networking.names import outbound_cluster
from pilot.networking.route_headers import LegacyHeaders, apply_headers
from pilot.networking.route_match import Place, UnusableMatchError, is_catch_all, operation_path, set_match
from pilot.networking.route_policy import add_hash_policy, set_cors, set_fault, set_retries, set_timeout
from pilot.networking.wire import bounded_weight, is_value, set_seconds

Route = route_components_pb2.Route
RouteAction = route_components_pb2.RouteAction
VirtualHost = route_components_pb2.VirtualHost

_REDIRECTS: Final = {
    0: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


@dataclass(frozen=True, slots=True)
class Target:
    """A destination, resolved: the cluster that serves it and the service behind, when the scope knows it."""

    cluster: str
    host: str
    port: int
    service: Service | None

    @property
    def mesh_service(self) -> MeshService | None:
        """The service as Mixer names it; None for what is outside the mesh."""
        service = self.service
        return None if service is None or service.mesh_external else as_mesh_service(service)


def as_mesh_service(service: Service) -> MeshService:
    return MeshService(host=service.hostname, name=service.name, namespace=service.namespace)


def resolve(scope: Scope, rule: RoutingRule, destination: Destination, place: Place) -> Target:
    """The port is the one that the destination names, else the service's only one, else the place's."""
    host = rule.destination_host(destination.host)
    service = scope.by_host.get(host)
    if destination.port is not None and destination.port.number:
        port = destination.port.number
    elif service is not None and len(service.ports) == 1:
        port = service.ports[0].number
    else:
        port = place.port
    return Target(outbound_cluster(host, port, destination.subset), host, port, service)


def rule_routes(scope: Scope, rule: RoutingRule, place: Place, check: CheckSettings | None = None) -> list[Route]:
    """All routes of the rule, in order, up to the first that catches everything. With `check` (gateways) each asks Mixer."""
    routes: list[Route] = []
    for http in rule.spec.http:
        for match in http.match or (None,):
            route = _route(scope, rule, place, http, match, check)
            if route is None:
                continue
            routes.append(route)
            if is_catch_all(route.match):
                return routes
    return routes


def _route(
    scope: Scope, rule: RoutingRule, place: Place, http: HTTPRoute, match: HTTPMatchRequest | None, check: CheckSettings | None
) -> Route | None:
    if match is not None and not place.admits(rule, port=match.port, gateways=match.gateways, source_labels=match.sourceLabels):
        return None
    route = Route(name=_name(http, match))
    try:
        set_match(route.match, match)
    except UnusableMatchError:
        return None
    legacy = LegacyHeaders(
        {**http.appendHeaders, **http.appendRequestHeaders},
        http.removeRequestHeaders,
        http.appendResponseHeaders,
        http.removeResponseHeaders,
    )
    authority = apply_headers(route, http.headers, legacy)
    if http.redirect is not None:
        if not _set_redirect(route, http.redirect):
            return None
    else:
        targets = _set_action(route, scope, rule, place, http, authority)
        if not targets:
            return None
        if check is not None:
            services = (target.mesh_service for target in targets)
            check.apply(route, tuple(dict.fromkeys(service for service in services if service is not None)), direction="outbound")
    set_fault(route, http.fault)
    set_cors(route, http.corsPolicy)
    return route


def _name(http: HTTPRoute, match: HTTPMatchRequest | None) -> str:
    return f"{http.name}.{match.name}" if match is not None and match.name else http.name


def _set_redirect(route: Route, redirect: HTTPRedirect) -> bool:
    code = _REDIRECTS.get(redirect.redirectCode)
    if code is None or not is_value(redirect.authority) or not is_value(redirect.uri):
        return False
    route.redirect.response_code = code
    if redirect.authority:
        route.redirect.host_redirect = redirect.authority
    if redirect.uri:
        route.redirect.path_redirect = redirect.uri
    return True


def _set_action(route: Route, scope: Scope, rule: RoutingRule, place: Place, http: HTTPRoute, authority: str | None) -> list[Target]:
    """Where matching requests go and how. Returns the destinations; none means that the route is unusable."""
    action = route.route
    set_timeout(action, http.timeout)
    set_retries(action, http.retries)
    if http.rewrite is not None and http.rewrite.uri and is_value(http.rewrite.uri):
        action.prefix_rewrite = http.rewrite.uri
    authority = (http.rewrite.authority if http.rewrite is not None else "") or authority
    if authority and is_value(authority):
        action.host_rewrite_literal = authority
    copied = resolve(scope, rule, http.mirror, place).cluster if http.mirror is not None else ""
    if copied and is_value(copied) and http.mirrorPercent != 0:
        mirror = action.request_mirror_policies.add(cluster=copied)
        mirror.runtime_fraction.default_value.numerator = min(max(100 if http.mirrorPercent is None else http.mirrorPercent, 0), 100)
    usable = http.route if len(http.route) == 1 else tuple(choice for choice in http.route if choice.weight > 0)
    if not usable:
        return []
    targets = [resolve(scope, rule, choice.destination, place) for choice in usable]
    if not all(is_value(target.cluster) for target in targets):
        return []
    for target, choice in zip(targets, usable, strict=True):
        if target.service is not None:
            _add_hashing(action, scope, target, choice.destination)
    if len(usable) == 1:
        _set_single(route, targets[0], usable[0])
        route.decorator.operation = f"{targets[0].host}:{targets[0].port}{operation_path(route.match)}"
    else:
        _set_weighted(route, targets, usable)
        route.decorator.operation = f"{rule.key.name}:{place.port}{operation_path(route.match)}"
    return targets


def _add_hashing(action: RouteAction, scope: Scope, target: Target, destination: Destination) -> None:
    """Port-level settings count only when the destination names the port (Istio 1.4)."""
    if target.service is None:
        return
    port = destination.port.number if destination.port is not None else None
    policy = effective_policy(scope.destination_rule(target.service), destination.subset, port)
    add_hash_policy(action, policy.load_balancer)


def _legacy(choice: HTTPRouteDestination) -> LegacyHeaders:
    return LegacyHeaders(
        choice.appendRequestHeaders, choice.removeRequestHeaders, choice.appendResponseHeaders, choice.removeResponseHeaders
    )


def _set_single(route: Route, target: Target, choice: HTTPRouteDestination) -> None:
    route.route.cluster = target.cluster
    authority = apply_headers(route, choice.headers, _legacy(choice))
    if authority and is_value(authority) and not route.route.host_rewrite_literal:
        route.route.host_rewrite_literal = authority
    name_service(route, target.mesh_service)


def _set_weighted(route: Route, targets: list[Target], choices: tuple[HTTPRouteDestination, ...]) -> None:
    services = {target.mesh_service for target in targets}
    for target, choice in zip(targets, choices, strict=True):
        weighted = route.route.weighted_clusters.clusters.add(name=target.cluster)
        weighted.weight.value = bounded_weight(choice.weight)
        authority = apply_headers(weighted, choice.headers, _legacy(choice))
        if authority and is_value(authority):
            weighted.host_rewrite_literal = authority
        if len(services) > 1:
            _forward(weighted, target.mesh_service)
    if len(services) == 1:
        name_service(route, targets[0].mesh_service)


def name_service(route: Route, service: MeshService | None) -> None:
    """Say to the other proxy and to Mixer which service is meant; to places outside the mesh say nothing of ours."""
    _forward(route, service)
    if service is not None:
        route.metadata.filter_metadata[SERVICE_METADATA].MergeFrom(service_metadata(service))


def _forward(target: Route | route_components_pb2.WeightedCluster.ClusterWeight, service: MeshService | None) -> None:
    if service is None:
        target.request_headers_to_remove.extend(INTERNAL_HEADERS)
    else:
        target.request_headers_to_add.append(forwarded_service(service))


def default_route(scope: Scope, service: Service, port: Port) -> Route:
    """Where requests for a service go that no VirtualService names."""
    route = Route(name="default")
    set_match(route.match, None)
    action = route.route
    action.cluster = outbound_cluster(service.hostname, port.number)
    set_timeout(action, None)
    set_retries(action, None)
    add_hash_policy(action, effective_policy(scope.destination_rule(service), "", port.number).load_balancer)
    route.decorator.operation = f"{service.hostname}:{port.number}/*"
    name_service(route, None if service.mesh_external else as_mesh_service(service))
    return route


def inbound_route(cluster: str, operation: str) -> Route:
    """To the application: no timeout and no retries, those are the client's."""
    route = Route(name="default")
    set_match(route.match, None)
    route.route.cluster = cluster
    set_seconds(route.route.timeout, 0.0)
    route.decorator.operation = operation
    return route
