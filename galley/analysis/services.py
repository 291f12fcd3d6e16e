# SPDX-License-Identifier: Apache-2.0
"""Services: port names that say the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.config.kinds.core import Service
from common.config.resource import Resource
from galley.analysis.codes import EXTERNAL_NAME_PORT, PORT_NAME_CONVENTION
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import HTTP_PROTOCOLS, PROTOCOLS, each


def port_names(view: View) -> Iterable[Finding]:
    """Without a protocol in its name a port is sniffed, and routing rules may not apply to it."""
    return view.each(Service, _port_names)


def _port_names(view: View, service: Resource[Service]) -> Iterator[Finding]:
    for port, at in each(service.spec.ports, ("spec", "ports")):
        prefix = port.name.partition("-")[0]
        known = prefix in PROTOCOLS or port.name.startswith("grpc-web")
        if port.protocol == "TCP" and not known and not port.appProtocol:
            text = PORT_NAME_CONVENTION.says(port.name, port.port, port.targetPort or port.port)
            yield finding(PORT_NAME_CONVENTION, service, at, text)


def external_names(view: View) -> Iterable[Finding]:
    """A name outside of the mesh stands for many addresses: a TCP port of it would take the traffic of everything on that port."""
    return view.each(Service, _external_names)


def _external_names(view: View, service: Resource[Service]) -> Iterator[Finding]:
    if service.spec.type == "ExternalName":
        for port, at in each(service.spec.ports, ("spec", "ports")):
            protocol = port.appProtocol or port.name.partition("-")[0]
            if protocol not in HTTP_PROTOCOLS and protocol not in ("https", "tls"):
                yield finding(EXTERNAL_NAME_PORT, service, (*at, "name"), EXTERNAL_NAME_PORT.says(port.name or "none"))
