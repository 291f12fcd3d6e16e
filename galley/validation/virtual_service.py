# SPDX-License-Identifier: Apache-2.0
"""What a VirtualService must keep to, over its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from common.config.kinds.message import StringMatch
from common.config.kinds.virtual_service import (
    Destination,
    HeaderOperations,
    Headers,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)
from common.config.problem import Path, Problem, problem
from galley.validation import hosts
from galley.validation.cors import cors_policy
from galley.validation.overlaps import overlaps
from galley.validation.primitives import (
    as_number,
    at_least,
    dns_label,
    duration,
    each,
    export_to,
    fqdn,
    fraction,
    header_name,
    header_value,
    host_or_ip,
    ipv4_subnet,
    is_ip,
    labels,
    percent,
    port_number,
    regex,
    wildcard_domain,
)

_RETRY_ON: Final = frozenset(
    {"5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "refused-stream", "retriable-status-codes"}
    | {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)
_REDIRECT_CODES: Final = (0, 301, 302, 303, 307, 308)
_REWRITTEN: Final = frozenset({"host", ":authority"})
"""Names whose setting becomes a host rewrite. Envoy refuses to add or remove any other name that begins with a colon."""


def virtual_service(spec: VirtualService, at: Path) -> Iterator[Problem]:
    applies_to_mesh = not spec.gateways or "mesh" in spec.gateways
    yield from _gateways(spec.gateways, (*at, "gateways"))
    yield from _hosts(spec.hosts, applies_to_mesh, (*at, "hosts"))
    if not (spec.http or spec.tls or spec.tcp):
        yield problem(at, "at least one of http, tls, tcp must have a route")
    for route, place in each(spec.http, (*at, "http")):
        yield from _http_route(route, place)
    for tls, place in each(spec.tls, (*at, "tls")):
        if not tls.match:
            yield problem(place, "a TLS route needs at least one match with sniHosts")
        for match, where in each(tls.match, (*place, "match")):
            yield from _tls_match(match, spec.hosts, where)
        yield from _routes(tls.route, (*place, "route"))
    for tcp, place in each(spec.tcp, (*at, "tcp")):
        for l4_match, where in each(tcp.match, (*place, "match")):
            yield from _l4_match(l4_match, where)
        yield from _routes(tcp.route, (*place, "route"))
    yield from export_to(spec.exportTo, (*at, "exportTo"))


def _gateways(names: Sequence[str], at: Path) -> Iterator[Problem]:
    for name, place in each(names, at):
        namespace, slash, gateway = name.partition("/")
        if not slash:
            yield from fqdn(name, place)
            continue
        if namespace != ".":
            yield from dns_label(namespace, place)
        yield from dns_label(gateway, place)


def _hosts(names: Sequence[str], applies_to_mesh: bool, at: Path) -> Iterator[Problem]:
    if not names:
        yield problem(at, "at least one host is needed")
    wrong = False
    for name, place in each(names, at):
        if name == "*" and applies_to_mesh:
            wrong = True
            yield problem(
                place, "host '*' is not allowed for the gateway 'mesh'; name the host, or bind this VirtualService to a Gateway only"
            )
            continue
        for found in host_or_ip(name, place):
            wrong = True
            yield found
    if not wrong:
        for second, first in overlaps([hosts.sort_key(name) for name in names]):
            text = f"host {names[second]!r} overlaps with {names[first]!r} (hosts[{first}]); keep one"
            yield problem((*at, second), text, found=names[second])


def _http_route(route: HTTPRoute, at: Path) -> Iterator[Problem]:
    if route.redirect is not None:
        for field, is_set in (("route", route.route), ("fault", route.fault), ("rewrite", route.rewrite)):
            if is_set:
                yield problem((*at, field), f"a redirect excludes {field}; remove one of them")
        if route.websocketUpgrade:
            yield problem((*at, "websocketUpgrade"), "a redirect excludes websocketUpgrade; remove one of them")
        yield from _redirect(route.redirect, (*at, "redirect"))
    elif not route.route:
        yield problem(at, "a route needs at least one destination under 'route', or a 'redirect'")
    for match, place in each(route.match, (*at, "match")):
        yield from _http_match(match, place)
    if route.rewrite is not None and not (route.rewrite.uri or route.rewrite.authority):
        yield problem((*at, "rewrite"), "a rewrite needs uri or authority")
    yield from _header_fields(route, at)
    yield from _headers(route.headers, (*at, "headers"))
    yield from duration(route.timeout, (*at, "timeout"))
    if route.retries is not None:
        yield from _retries(route.retries, (*at, "retries"))
    if route.fault is not None:
        yield from _fault(route.fault, (*at, "fault"))
    if route.mirror is not None:
        yield from _destination(route.mirror, (*at, "mirror"))
    if route.mirrorPercent is not None:
        yield from percent(route.mirrorPercent, (*at, "mirrorPercent"))
    if route.corsPolicy is not None:
        yield from cors_policy(route.corsPolicy, (*at, "corsPolicy"))
    for destination, place in each(route.route, (*at, "route")):
        yield from _destination(destination.destination, (*place, "destination"))
        yield from _header_fields(destination, place)
        yield from _headers(destination.headers, (*place, "headers"))
    yield from _weights(route.route, (*at, "route"))


def _http_match(match: HTTPMatchRequest, at: Path) -> Iterator[Problem]:
    for field in ("uri", "scheme", "method", "authority"):
        yield from _string_match(getattr(match, field), (*at, field))
    for name, value in match.headers.items():
        yield from header_name(name, (*at, "headers", name))
        yield from _string_match(value, (*at, "headers", name))
    for name, value in match.queryParams.items():
        if not name:
            yield problem((*at, "queryParams"), "the name of a query parameter may not be empty")
        yield from _string_match(value, (*at, "queryParams", name))
    yield from _common_match(match, at)


def _common_match(match: HTTPMatchRequest | L4MatchAttributes | TLSMatchAttributes, at: Path) -> Iterator[Problem]:
    if match.port:
        yield from port_number(match.port, (*at, "port"))
    yield from labels(match.sourceLabels, (*at, "sourceLabels"))
    yield from _gateways(match.gateways, (*at, "gateways"))


def _string_match(match: StringMatch | None, at: Path) -> Iterator[Problem]:
    if match is not None and match.regex is not None:
        yield from regex(match.regex, (*at, "regex"))


def _l4_match(match: L4MatchAttributes | TLSMatchAttributes, at: Path) -> Iterator[Problem]:
    for subnet, place in each(match.destinationSubnets, (*at, "destinationSubnets")):
        yield from ipv4_subnet(subnet, place)
    if match.sourceSubnet:
        yield from ipv4_subnet(match.sourceSubnet, (*at, "sourceSubnet"))
    yield from _common_match(match, at)


def _tls_match(match: TLSMatchAttributes, of_hosts: Sequence[str], at: Path) -> Iterator[Problem]:
    if not match.sniHosts:
        yield problem(at, "a TLS match needs at least one entry in sniHosts")
    for sni, place in each(match.sniHosts, (*at, "sniHosts")):
        if wrong := list(host_or_ip(sni, place)):
            yield from wrong
        elif sni.startswith("*") and sni != "*" and not sni.startswith("*."):
            yield problem(place, f"Envoy matches SNI by whole labels; write '*.{sni.partition('.')[2]}' or a full name", found=sni)
        elif not any(hosts.is_subset(sni, host) for host in of_hosts):
            yield problem(place, f"SNI host {sni!r} does not belong to any of the hosts of this VirtualService", found=sni)
    yield from _l4_match(match, at)


def _routes(routes: Sequence[RouteDestination], at: Path) -> Iterator[Problem]:
    if not routes:
        yield problem(at[:-1], "a route needs at least one destination")
    for route, place in each(routes, at):
        yield from _destination(route.destination, (*place, "destination"))
    yield from _weights(routes, at)


def _weights(routes: Sequence[HTTPRouteDestination | RouteDestination], at: Path) -> Iterator[Problem]:
    in_range = True
    for route, place in each(routes, at):
        for found in percent(route.weight, (*place, "weight")):
            in_range = False
            yield found
    total = sum(route.weight for route in routes)
    if len(routes) > 1 and in_range and total != 100:
        parts = " + ".join(str(route.weight) for route in routes)
        yield problem(at, f"the weights must add up to 100; {parts} = {total}", expected="100", found=str(total))


def _destination(destination: Destination, at: Path) -> Iterator[Problem]:
    if destination.host == "*":
        yield problem((*at, "host"), "a destination is one host, not '*'")
    elif not is_ip(destination.host):
        yield from wildcard_domain(destination.host, (*at, "host"))
    if destination.subset:
        yield from dns_label(destination.subset, (*at, "subset"))
    if destination.port is not None:
        yield from port_number(destination.port.number, (*at, "port", "number"))


def _redirect(redirect: HTTPRedirect, at: Path) -> Iterator[Problem]:
    if not (redirect.uri or redirect.authority):
        yield problem(at, "a redirect needs uri or authority")
    if redirect.redirectCode not in _REDIRECT_CODES:
        yield problem(
            (*at, "redirectCode"),
            f"Envoy cannot redirect with {redirect.redirectCode}; use 301, 302, 303, 307 or 308",
            expected="301, 302, 303, 307 or 308",
            found=str(redirect.redirectCode),
        )


def _retries(retries: HTTPRetry, at: Path) -> Iterator[Problem]:
    yield from at_least(retries.attempts, 0, (*at, "attempts"))
    if retries.attempts == 0 and (retries.perTryTimeout is not None or retries.retryOn):
        yield problem(
            (*at, "attempts"), "attempts: 0 switches retries off, so perTryTimeout and retryOn must be absent; or set attempts to 1 or more"
        )
    yield from duration(retries.perTryTimeout, (*at, "perTryTimeout"))
    for condition in retries.retryOn.split(",") if retries.retryOn else ():
        is_status = 100 <= (as_number(condition) or 0) <= 599
        if condition not in _RETRY_ON and not is_status:
            known = ", ".join(sorted(_RETRY_ON))
            yield problem(
                (*at, "retryOn"), f"{condition!r} is not a retry condition; use an HTTP status or one of {known}", found=condition
            )


def _fault(fault: HTTPFaultInjection, at: Path) -> Iterator[Problem]:
    if fault.abort is None and fault.delay is None:
        yield problem(at, "a fault needs an abort, a delay or both")
    if (abort := fault.abort) is not None:
        place = (*at, "abort")
        if abort.httpStatus is None:
            other = next((name for name in ("grpcStatus", "http2Error") if getattr(abort, name) is not None), None)
            yield problem(
                (*place, other) if other else place, f"{other} is not supported; use httpStatus" if other else "an abort needs httpStatus"
            )
        elif not 200 <= abort.httpStatus <= 599:
            yield problem((*place, "httpStatus"), f"{abort.httpStatus} is not a status that Envoy answers with", expected="200 to 599")
        yield from percent(abort.percent, (*place, "percent"))
        if abort.percentage is not None:
            yield from fraction(abort.percentage.value, (*place, "percentage", "value"))
    if (delay := fault.delay) is not None:
        place = (*at, "delay")
        if delay.fixedDelay is None:
            text = "exponentialDelay is not supported; use fixedDelay" if delay.exponentialDelay else "a delay needs fixedDelay"
            yield problem((*place, "exponentialDelay") if delay.exponentialDelay else place, text)
        yield from duration(delay.fixedDelay, (*place, "fixedDelay"))
        yield from percent(delay.percent, (*place, "percent"))
        if delay.percentage is not None:
            yield from fraction(delay.percentage.value, (*place, "percentage", "value"))


def _header_fields(owner: HTTPRoute | HTTPRouteDestination, at: Path) -> Iterator[Problem]:
    """The deprecated spellings beside `headers`."""
    additions: dict[str, Mapping[str, str]] = {name: getattr(owner, name) for name in ("appendRequestHeaders", "appendResponseHeaders")}
    if isinstance(owner, HTTPRoute):
        additions["appendHeaders"] = owner.appendHeaders
    for field, values in additions.items():
        yield from _added(values, (*at, field))
    yield from _removed(owner.removeRequestHeaders, (*at, "removeRequestHeaders"))
    yield from _removed(owner.removeResponseHeaders, (*at, "removeResponseHeaders"))


def _headers(headers: Headers | None, at: Path) -> Iterator[Problem]:
    if headers is None:
        return
    for direction in ("request", "response"):
        operations: HeaderOperations | None = getattr(headers, direction)
        if operations is not None:
            yield from _added(operations.set, (*at, direction, "set"))
            yield from _added(operations.add, (*at, direction, "add"))
            yield from _removed(operations.remove, (*at, direction, "remove"))


def _added(values: Mapping[str, str], at: Path) -> Iterator[Problem]:
    for name, value in values.items():
        yield from header_name(name, (*at, name))
        yield from header_value(value, (*at, name))
        if name.startswith(":") and name.lower() not in _REWRITTEN:
            yield problem(
                (*at, name), f"Envoy does not let {name!r} be set as a header; use 'rewrite' for the path or the authority", found=name
            )


def _removed(names: Sequence[str], at: Path) -> Iterator[Problem]:
    for name, place in each(names, at):
        yield from header_name(name, place)
        if name.startswith(":") or name.lower() == "host":
            yield problem(place, f"Envoy does not let {name!r} be removed", found=name)
