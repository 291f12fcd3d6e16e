# SPDX-License-Identifier: Apache-2.0
"""What a ServiceEntry and a WorkloadEntry must keep to, over their schemas."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds.service_entry import ServiceEntry, WorkloadEntry
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import (
    HTTP_PROTOCOLS,
    TLS_PROTOCOLS,
    at_least,
    dns_label,
    each,
    export_to,
    fqdn,
    ipv4,
    ipv4_subnet,
    is_ip,
    labels,
    port_number,
    protocol,
    unique,
    unix_path,
    wildcard_domain,
)


def service_entry(spec: ServiceEntry, at: Path) -> Iterator[Problem]:
    if not spec.hosts:
        yield problem((*at, "hosts"), "at least one host is needed")
    for host, place in each(spec.hosts, (*at, "hosts")):
        if host == "*":
            yield problem(place, "host '*' is not allowed in a ServiceEntry; name the service")
        else:
            yield from wildcard_domain(host, place)
    for address, place in each(spec.addresses, (*at, "addresses")):
        yield from ipv4_subnet(address, place)
        if "/" in address and spec.resolution == "DNS":
            yield problem(place, f"subnet {address} needs resolution NONE or STATIC, not DNS", found=address)
    yield from _ports(spec, (*at, "ports"))
    if spec.endpoints and spec.workloadSelector is not None:
        yield problem((*at, "endpoints"), "endpoints and workloadSelector exclude one another; keep one")
    if spec.workloadSelector is not None:
        if not spec.workloadSelector.labels:
            yield problem((*at, "workloadSelector"), "a workloadSelector needs labels")
        yield from labels(spec.workloadSelector.labels, (*at, "workloadSelector", "labels"))
    yield from _resolution(spec, at)
    yield from export_to(spec.exportTo, (*at, "exportTo"))


def workload_entry(spec: WorkloadEntry, at: Path) -> Iterator[Problem]:
    if spec.address.startswith("unix://"):
        yield from unix_path(spec.address, (*at, "address"))
    elif not is_ip(spec.address):
        yield from fqdn(spec.address, (*at, "address"))
    yield from _workload(spec, at)


def _workload(spec: WorkloadEntry, at: Path) -> Iterator[Problem]:
    for name, number in spec.ports.items():
        yield from dns_label(name, (*at, "ports", name))
        yield from port_number(number, (*at, "ports", name))
    yield from labels(spec.labels, (*at, "labels"))
    yield from at_least(spec.weight, 0, (*at, "weight"))


def _ports(spec: ServiceEntry, at: Path) -> Iterator[Problem]:
    for port, place in each(spec.ports, at):
        yield from dns_label(port.name, (*place, "name"))
        yield from port_number(port.number, (*place, "number"))
        if port.protocol:
            yield from protocol(port.protocol, (*place, "protocol"))
        if len(spec.hosts) > 1 and spec.resolution != "NONE" and port.protocol.lower() not in HTTP_PROTOCOLS | TLS_PROTOCOLS:
            yield problem(
                (*place, "protocol"),
                f"several hosts can share a port only when it is HTTP or TLS; {port.protocol or 'TCP'} cannot tell them apart",
            )
    yield from unique(((port.name, (*place, "name")) for port, place in each(spec.ports, at)), "port name")
    yield from unique(((port.number, (*place, "number")) for port, place in each(spec.ports, at)), "port number")


def _resolution(spec: ServiceEntry, at: Path) -> Iterator[Problem]:
    place = (*at, "endpoints")
    match spec.resolution:
        case "NONE":
            if spec.endpoints:
                yield problem(
                    place, "resolution NONE sends to the address the caller asked for, so there are no endpoints; use STATIC or DNS"
                )
        case "STATIC":
            if not spec.endpoints and spec.workloadSelector is None:
                yield problem(at, "resolution STATIC needs endpoints or a workloadSelector")
            for endpoint, where in each(spec.endpoints, place):
                yield from _static_endpoint(endpoint, spec, where)
        case "DNS":
            if not spec.endpoints and spec.workloadSelector is None:
                for host, where in each(spec.hosts, (*at, "hosts")):
                    if "*" in host:
                        yield problem(where, f"DNS cannot resolve {host!r}; give endpoints, or a name without '*'", found=host)
            for endpoint, where in each(spec.endpoints, place):
                if not is_ip(endpoint.address):
                    yield from fqdn(endpoint.address, (*where, "address"))
                yield from _endpoint(endpoint, spec, where)


def _static_endpoint(endpoint: WorkloadEntry, spec: ServiceEntry, at: Path) -> Iterator[Problem]:
    if endpoint.address.startswith("unix://"):
        yield from unix_path(endpoint.address, (*at, "address"))
        if endpoint.ports:
            yield problem((*at, "ports"), "a Unix socket has no ports; remove them")
        if len(spec.ports) != 1:
            yield problem((*at, "address"), f"a Unix socket serves exactly one port; this entry has {len(spec.ports)}")
    else:
        yield from ipv4(endpoint.address, (*at, "address"))
    yield from _endpoint(endpoint, spec, at)


def _endpoint(endpoint: WorkloadEntry, spec: ServiceEntry, at: Path) -> Iterator[Problem]:
    declared = [port.name for port in spec.ports]
    for name in endpoint.ports:
        if name not in declared:
            known = ", ".join(declared) or "none"
            yield problem((*at, "ports", name), f"port {name!r} is not one of the ports of this entry; declared: {known}", found=name)
    yield from _workload(endpoint, at)
