# SPDX-License-Identifier: Apache-2.0
"""What a Sidecar must keep to, over its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from common.config.kinds.message import Port
from common.config.kinds.sidecar import IstioEgressListener, IstioIngressListener, Sidecar
from common.config.problem import Path, Problem, problem
from galley.validation.gateway import namespaced_host
from galley.validation.primitives import as_number, dns_label, each, ipv4, labels, port_number, protocol, unique, unix_path

_LOCAL_ENDPOINT: Final = re.compile(r"(?:127\.0\.0\.1)?:(\d+)\Z")


def sidecar(spec: Sidecar, at: Path) -> Iterator[Problem]:
    if spec.workloadSelector is not None:
        if not spec.workloadSelector.labels:
            yield problem((*at, "workloadSelector"), "a workloadSelector needs labels")
        yield from labels(spec.workloadSelector.labels, (*at, "workloadSelector", "labels"))
    if not spec.egress:
        yield problem((*at, "egress"), "at least one egress listener is needed; hosts: ['*/*'] keeps everything visible")
    for ingress, place in each(spec.ingress, (*at, "ingress")):
        yield from _ingress(ingress, place)
    numbers = ((listener.port.number, (*place, "port", "number")) for listener, place in each(spec.ingress, (*at, "ingress")))
    yield from unique(numbers, "ingress port")
    for egress, place in each(spec.egress, (*at, "egress")):
        yield from _egress(egress, place, is_last=place[-1] == len(spec.egress) - 1)
    yield from unique(
        (
            (egress.port.number or egress.bind, (*place, "port"))
            for egress, place in each(spec.egress, (*at, "egress"))
            if egress.port is not None
        ),
        "egress port",
    )


def _port(port: Port, at: Path) -> Iterator[Problem]:
    if port.name:
        yield from dns_label(port.name, (*at, "name"))
    if port.protocol:
        yield from protocol(port.protocol, (*at, "protocol"))


def _ingress(listener: IstioIngressListener, at: Path) -> Iterator[Problem]:
    yield from _port(listener.port, (*at, "port"))
    yield from port_number(listener.port.number, (*at, "port", "number"))
    if listener.bind:
        yield from ipv4(listener.bind, (*at, "bind"))
    endpoint, place = listener.defaultEndpoint, (*at, "defaultEndpoint")
    if endpoint.startswith("unix://"):
        yield from unix_path(endpoint, place)
    elif (local := _LOCAL_ENDPOINT.match(endpoint)) is None:
        yield problem(place, f"{endpoint!r} is not where the application listens; write 127.0.0.1:port or unix:///path", found=endpoint)
    else:
        yield from port_number(as_number(local[1]) or 0, place)


def _egress(listener: IstioEgressListener, at: Path, *, is_last: bool) -> Iterator[Problem]:
    if listener.port is None:
        if not is_last:
            yield problem(at, "an egress listener without a port catches all the others' traffic, so it must be the last one")
    else:
        yield from _port(listener.port, (*at, "port"))
        if listener.port.number == 0:
            if not listener.bind.startswith("unix://"):
                yield problem((*at, "bind"), "a listener with port 0 needs bind: unix:///path")
            else:
                yield from unix_path(listener.bind, (*at, "bind"))
            if listener.captureMode == "IPTABLES":
                yield problem((*at, "captureMode"), "a Unix socket cannot be captured by iptables; use DEFAULT or NONE")
        else:
            yield from port_number(listener.port.number, (*at, "port", "number"))
            if listener.bind:
                yield from ipv4(listener.bind, (*at, "bind"))
    if not listener.hosts:
        yield problem((*at, "hosts"), "an egress listener needs hosts, each namespace/name; './*' is this namespace, '~/*' nothing")
    for host, place in each(listener.hosts, (*at, "hosts")):
        if "/" not in host:
            yield problem(place, f"{host!r} needs a namespace: write ./{host}, */{host} or namespace/{host}", found=host)
        else:
            yield from namespaced_host(host, place, namespaces=("*", ".", "~"), may_be_address=False)
