# SPDX-License-Identifier: Apache-2.0
"""VirtualServices against what they name: hosts, ports, subsets, gateways - and against each other and themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from common.config.kinds.virtual_service import Destination, HTTPMatchRequest, HTTPRoute, VirtualService
from common.config.problem import Path
from common.config.resource import Resource
from galley.analysis.codes import (
    CONFLICTING_MESH_GATEWAY_HOSTS,
    DESTINATION_PORT_REQUIRED,
    HOST_NOT_IN_GATEWAY,
    INEFFECTIVE_MATCH,
    REFERENCED_RESOURCE_NOT_FOUND,
    UNREACHABLE_RULE,
)
from galley.analysis.finding import Finding, finding, listed
from galley.analysis.suggestion import Found, UnknownHost
from galley.analysis.view import View, scope_of
from galley.validation import hosts
from galley.validation.primitives import each, is_ip

MESH = "mesh"


def destinations(view: View) -> Iterable[Found]:
    """Every destination must be a known host, with a port that it has and a subset that is declared."""
    return view.each(VirtualService, _destinations)


def _destinations(view: View, resource: Resource[VirtualService]) -> Iterator[Found]:
    for destination, at in _destinations_of(resource.spec):
        yield from _destination(view, resource, destination, at)


def _destination(view: View, resource: Resource[VirtualService], destination: Destination, at: Path) -> Iterator[Found]:
    host, namespace = destination.host, resource.namespace
    known = view.host(host, namespace)
    if known is None:
        if not is_ip(host):
            text = REFERENCED_RESOURCE_NOT_FOUND.says("host", host)
            yield UnknownHost(finding(REFERENCED_RESOURCE_NOT_FOUND, resource, (*at, "host"), text), host, namespace)
        return
    numbers = [port.number for port in known.ports]
    if destination.port is None:
        if len(numbers) > 1:
            text = DESTINATION_PORT_REQUIRED.says(host, " ".join(map(str, numbers)))
            yield finding(DESTINATION_PORT_REQUIRED, resource, at, text)
    elif destination.port.number not in numbers:
        reference = f"{host}:{destination.port.number}"
        text = f"{REFERENCED_RESOURCE_NOT_FOUND.says('host:port', reference)}; the service has {listed(numbers) or 'none'}"
        yield finding(REFERENCED_RESOURCE_NOT_FOUND, resource, (*at, "port", "number"), text)
    if destination.subset and not view.is_visible_subset(host, destination.subset, namespace):
        reference = f"{host}+{destination.subset}"
        text = REFERENCED_RESOURCE_NOT_FOUND.says("host+subset in destinationrule", reference)
        yield finding(REFERENCED_RESOURCE_NOT_FOUND, resource, (*at, "subset"), text)


def _destinations_of(spec: VirtualService) -> Iterator[tuple[Destination, Path]]:
    for http, at in each(spec.http, ("spec", "http")):
        for route, place in each(http.route, (*at, "route")):
            yield route.destination, (*place, "destination")
        if http.mirror is not None:
            yield http.mirror, (*at, "mirror")
    tcp = ((rule.route, at) for rule, at in each(spec.tcp, ("spec", "tcp")))
    tls = ((rule.route, at) for rule, at in each(spec.tls, ("spec", "tls")))
    for routes, at in chain(tcp, tls):
        for weighted, place in each(routes, (*at, "route")):
            yield weighted.destination, (*place, "destination")


def gateways(view: View) -> Iterable[Finding]:
    """Every gateway named must exist, and serve at least one of the hosts."""
    return view.each(VirtualService, _gateways)


def _gateways(view: View, resource: Resource[VirtualService]) -> Iterator[Finding]:
    for reference, at in each(resource.spec.gateways, ("spec", "gateways")):
        if reference == MESH:
            continue
        gateway = view.gateway(reference, resource.namespace)
        if gateway is None:
            yield finding(REFERENCED_RESOURCE_NOT_FOUND, resource, at, REFERENCED_RESOURCE_NOT_FOUND.says("gateway", reference))
            continue
        served = [_gateway_host(host, gateway.namespace, resource.namespace) for server in gateway.spec.servers for host in server.hosts]
        for host, place in each(resource.spec.hosts, ("spec", "hosts")):
            name = hosts.fully_qualified(host, resource.namespace)
            if not any(one is not None and hosts.matches(one, name) for one in served):
                text = HOST_NOT_IN_GATEWAY.says(host, resource.name, reference)
                yield finding(HOST_NOT_IN_GATEWAY, resource, place, text)


def _gateway_host(text: str, gateway_namespace: str, namespace: str) -> str | None:
    """The host of a gateway's server, or None when it is not for VirtualServices of this namespace."""
    where, slash, host = text.rpartition("/")
    allowed = not slash or where == "*" or namespace == (gateway_namespace if where == "." else where)
    return host if allowed else None


def conflicts(view: View) -> Iterator[Finding]:
    """One host may belong to one VirtualService of the mesh; which of two wins is a matter of age."""
    claims: dict[tuple[str, str], list[Resource[VirtualService]]] = defaultdict(list)
    for resource in view.of(VirtualService):
        if resource.spec.gateways and MESH not in resource.spec.gateways:
            continue
        scope = scope_of(resource, resource.spec.exportTo, view.exports.virtual_services)
        for host in resource.spec.hosts:
            owners = claims[scope, hosts.fully_qualified(host, resource.namespace).lower()]
            if resource not in owners:
                owners.append(resource)
    for (scope, host), owners in claims.items():
        if len(owners) > 1:
            names = listed(f"{owner.namespace}/{owner.name}" for owner in owners)
            text = CONFLICTING_MESH_GATEWAY_HOSTS.says(names, f"{scope}/{host}")
            for owner in owners:
                yield finding(CONFLICTING_MESH_GATEWAY_HOSTS, owner, ("spec", "hosts"), text)


def unreachable_rules(view: View) -> Iterable[Finding]:
    """Rules are tried in order: nothing after a catch-all, or after the same match, is ever reached."""
    return view.each(VirtualService, _unreachable_rules)


def _unreachable_rules(view: View, resource: Resource[VirtualService]) -> Iterator[Finding]:
    seen: dict[bytes, tuple[int, int]] = {}
    catch_all: int | None = None
    for number, rule in enumerate(resource.spec.http):
        at: Path = ("spec", "http", number)
        if catch_all is not None:
            text = UNREACHABLE_RULE.says(_name(rule, number), f"rule #{catch_all} before it takes every request")
            yield finding(UNREACHABLE_RULE, resource, at, text)
            continue
        repeated = [(index, seen.get(_identity(match))) for index, match in enumerate(rule.match)]
        if rule.match and all(earlier is not None for _, earlier in repeated):
            text = UNREACHABLE_RULE.says(_name(rule, number), "all matches are already used by earlier rules")
            yield finding(UNREACHABLE_RULE, resource, at, text)
        else:
            for index, earlier in repeated:
                if earlier is not None:
                    text = INEFFECTIVE_MATCH.says(_name(rule, number), f"#{index}", f"#{earlier[0]}")
                    yield finding(INEFFECTIVE_MATCH, resource, (*at, "match", index), text)
        for index, match in enumerate(rule.match):
            seen.setdefault(_identity(match), (number, index))
        if not rule.match or any(_takes_everything(match) for match in rule.match):
            catch_all = number


def _name(rule: HTTPRoute, number: int) -> str:
    """A rule by its name, or by its place."""
    return f'"{rule.name}"' if rule.name else f"#{number}"


def _identity(match: HTTPMatchRequest) -> bytes:
    """Two matches are the same when they only differ in name."""
    return msgspec.json.encode(msgspec.structs.replace(match, name=""), order="sorted")


def _takes_everything(match: HTTPMatchRequest) -> bool:
    uri = match.uri
    any_path = uri is None or uri.prefix == "/" or uri.regex == ".*"
    bare: Any = msgspec.structs.replace(match, name="", uri=None, ignoreUriCase=False)
    return any_path and bare == HTTPMatchRequest()
