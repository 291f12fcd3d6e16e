# SPDX-License-Identifier: Apache-2.0
"""What the Kubernetes kinds must keep to, over their schemas."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds.core import Endpoints, Service
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import dns_label, each, fqdn, is_ip, labels, port_number, unique


def service(spec: Service, at: Path) -> Iterator[Problem]:
    if spec.type == "ExternalName":
        yield from fqdn(spec.externalName, (*at, "externalName"))
    elif not spec.ports and spec.clusterIP != "None":
        yield problem((*at, "ports"), "at least one port is needed")
    for port, place in each(spec.ports, (*at, "ports")):
        yield from port_number(port.port, (*place, "port"))
        if len(spec.ports) > 1 and not port.name:
            yield problem(place, "each port needs a name when there is more than one")
        if port.name:
            yield from dns_label(port.name, (*place, "name"))
        if isinstance(port.targetPort, int):
            yield from port_number(port.targetPort, (*place, "targetPort"))
        elif isinstance(port.targetPort, str):
            yield from dns_label(port.targetPort, (*place, "targetPort"))
    yield from unique(((port.name, (*place, "name")) for port, place in each(spec.ports, (*at, "ports")) if port.name), "port name")
    yield from unique((((port.port, port.protocol), (*place, "port")) for port, place in each(spec.ports, (*at, "ports"))), "port")
    yield from labels(spec.selector, (*at, "selector"))
    if spec.clusterIP not in ("", "None") and not is_ip(spec.clusterIP):
        yield problem(
            (*at, "clusterIP"), f"{spec.clusterIP!r} is not an IP address; leave it out to have one allocated", found=spec.clusterIP
        )


def endpoints(spec: Endpoints, at: Path) -> Iterator[Problem]:
    for subset, place in each(spec.subsets, (*at, "subsets")):
        for field in ("addresses", "notReadyAddresses"):
            for address, where in each(getattr(subset, field), (*place, field)):
                if not is_ip(address.ip):
                    yield problem((*where, "ip"), f"{address.ip!r} is not an IP address", found=address.ip)
        for port, where in each(subset.ports, (*place, "ports")):
            yield from port_number(port.port, (*where, "port"))
            if len(subset.ports) > 1 and not port.name:
                yield problem(where, "each port needs a name when there is more than one")
