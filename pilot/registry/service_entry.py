# SPDX-License-Identifier: Apache-2.0
"""Services that a ServiceEntry declares: one for each of its hosts.

Istio 1.4 made one service for each host *and* address; here a service has several addresses, so its clusters are made once.
"""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds.networking import ServiceEntry
from common.config.resource import Resource
from pilot.model.digest import combine
from pilot.model.hosts import is_wildcard
from pilot.model.order import is_private
from pilot.model.service import MAX_PORT, Endpoint, Port, Resolution, Service, ServiceKey
from pilot.registry import protocol
from pilot.registry.addresses import virtual_address
from pilot.registry.workloads import accepts_mtls, locality, spiffe_id

_RESOLUTION = {"NONE": Resolution.PASSTHROUGH, "STATIC": Resolution.CLIENT_SIDE, "DNS": Resolution.DNS}


def services(resource: Resource[ServiceEntry], digest: bytes, *, default_export: tuple[str, ...]) -> Iterator[Service]:
    """One service per host. Addresses that are none are skipped; `/32` becomes a plain address."""
    spec = resource.spec
    addresses = tuple(address for text in spec.addresses if (address := virtual_address(text)) is not None)
    ports = tuple(
        Port(name=port.name, number=port.number, protocol=protocol.parse(port.protocol), target_port=port.number)
        for port in spec.ports
        if 0 < port.number <= MAX_PORT
    )
    for host in spec.hosts:
        if not host:
            continue
        yield Service(
            key=ServiceKey(resource.namespace, host),
            name=host,
            ports=ports,
            resolution=_RESOLUTION[spec.resolution],
            addresses=addresses,
            mesh_external=spec.location == "MESH_EXTERNAL",
            private=is_private(spec.exportTo, default_export),
            selector=spec.workloadSelector.labels if spec.workloadSelector is not None else {},
            declared_accounts=spec.subjectAltNames,
            created=resource.metadata.creationTimestamp,
            source=resource.key,
            digest=combine((digest, host.encode())),
        )


def inline_endpoints(service: Service, resource: Resource[ServiceEntry], *, trust_domain: str) -> Iterator[Endpoint]:
    """Endpoints written in the ServiceEntry; a DNS entry without any is reached by its own name."""
    spec = resource.spec
    for entry in spec.endpoints:
        yield Endpoint(
            address=entry.address,
            ports={port.number: entry.ports.get(port.name, port.number) for port in service.ports},
            labels=entry.labels,
            locality=locality(entry.locality, entry.labels),
            network=entry.network,
            weight=entry.weight or 1,
            namespace=resource.namespace,
            account=spiffe_id(trust_domain, resource.namespace, entry.serviceAccount),
            has_sidecar=accepts_mtls(entry.labels),
            source=resource.key,
        )
    if spec.resolution == "DNS" and not spec.endpoints and spec.workloadSelector is None and not is_wildcard(service.hostname):
        yield Endpoint(
            address=service.hostname,
            ports={port.number: port.number for port in service.ports},
            namespace=resource.namespace,
            source=resource.key,
        )
