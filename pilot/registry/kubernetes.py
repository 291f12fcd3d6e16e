# SPDX-License-Identifier: Apache-2.0
"""Services of Kubernetes' shape: `Service` with a selector over WorkloadEntries, or with an `Endpoints` object of the same name."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds import core
from common.config.resource import Resource
from common.mesh.names import SERVICE_DOMAIN
from pilot.model.service import MAX_PORT, Endpoint, Port, Resolution, Service, ServiceKey
from pilot.registry import protocol
from pilot.registry.addresses import virtual_address

EXPORT_ANNOTATION = "networking.istio.io/exportTo"
ACCOUNTS_ANNOTATION = "alpha.istio.io/canonical-serviceaccounts"


def service(resource: Resource[core.Service], digest: bytes, *, private_by_default: bool) -> Service:
    """Convert one Service. Headless ones keep their clients' destination, external names are resolved by DNS."""
    spec, metadata = resource.spec, resource.metadata
    export = metadata.annotations.get(EXPORT_ANNOTATION)
    headless = spec.clusterIP == "None"
    external = spec.type == "ExternalName"
    address = virtual_address(spec.clusterIP)
    return Service(
        key=ServiceKey(resource.namespace, f"{resource.name}.{resource.namespace}.{SERVICE_DOMAIN}"),
        name=resource.name,
        ports=tuple(
            Port(
                name=port.name or str(port.port),
                number=port.port,
                protocol=protocol.of_service_port(name=port.name, number=port.port, transport=port.protocol, app_protocol=port.appProtocol),
                target_port=port.targetPort or port.port,
            )
            for port in spec.ports
            if 0 < port.port <= MAX_PORT
        ),
        resolution=Resolution.DNS if external else Resolution.PASSTHROUGH if headless else Resolution.CLIENT_SIDE,
        addresses=(address,) if address is not None and not external else (),
        mesh_external=external,
        private=private_by_default if export is None else "." in export.split(","),
        headless=headless,
        selector={} if external else spec.selector,
        declared_accounts=_accounts(metadata.annotations.get(ACCOUNTS_ANNOTATION, "")),
        created=metadata.creationTimestamp,
        source=resource.key,
        digest=digest,
    )


def listed_endpoints(service: Service, resource: Resource[core.Endpoints]) -> Iterator[Endpoint]:
    """Ready addresses of an Endpoints object; its ports are matched to the service's by name."""
    for subset in resource.spec.subsets:
        numbers = {port.name: port.port for port in subset.ports}
        only = subset.ports[0].port if len(subset.ports) == 1 else None
        ports: dict[int, int] = {}
        for port in service.ports:
            number = numbers.get(port.name, only if len(service.ports) == 1 else None)
            if number is not None:
                ports[port.number] = number
        for address in subset.addresses:
            yield Endpoint(
                address=address.ip,
                ports=ports,
                namespace=service.namespace,
                workload=address.targetRef.name if address.targetRef is not None else "",
                source=resource.key,
            )


def external_endpoint(service: Service, resource: Resource[core.Service]) -> Endpoint:
    """The name that an ExternalName service stands for."""
    return Endpoint(
        address=resource.spec.externalName,
        ports={port.number: port.number for port in service.ports},
        namespace=service.namespace,
        source=resource.key,
    )


def _accounts(annotation: str) -> tuple[str, ...]:
    """The annotation lists SPIFFE ids, with or without their scheme."""
    names = (name.strip() for name in annotation.split(","))
    return tuple(name if "://" in name else f"spiffe://{name}" for name in names if name)
