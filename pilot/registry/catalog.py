# SPDX-License-Identifier: Apache-2.0
"""All services of the mesh with their endpoints: the aggregate of the registries.

Built anew for every change, but out of what the catalog before already converted: unchanged resources keep their services, and a service whose
workloads did not change keeps its endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common.config.kinds.core import ENDPOINTS, SERVICE
from common.config.kinds.mesh import MeshConfig
from common.config.kinds.networking import SERVICE_ENTRY, WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from pilot.model.digest import combine
from pilot.model.labels import selects
from pilot.model.order import is_private
from pilot.model.service import NO_ENDPOINTS, Endpoint, EndpointSet, Service, ServiceKey
from pilot.registry import kubernetes, service_entry
from pilot.registry.workloads import NO_WORKLOADS, Workload, WorkloadIndex

COLLECTIONS = (SERVICE.collection, ENDPOINTS.collection, SERVICE_ENTRY.collection, WORKLOAD_ENTRY.collection)
"""What the catalog is made of."""

Digested = Mapping[ResourceKey, tuple[Resource[Any], bytes]]
"""Resources of one collection with their content hashes."""


class ServiceCatalog:
    """Services by key and in order (oldest first, then by name), endpoints by service, and who serves what."""

    def __init__(self, collections: Mapping[str, Digested], mesh: MeshConfig, previous: ServiceCatalog | None = None):
        self._mesh = mesh
        self._settings = (mesh.trustDomain, mesh.defaultServiceExportTo)
        if previous is not None and previous._settings != self._settings:
            previous = None
        self._converted: dict[ResourceKey, tuple[bytes, tuple[Service, ...]]] = {}
        self._workloads = self._index_workloads(collections.get(WORKLOAD_ENTRY.collection, {}), previous)
        self.by_key: dict[ServiceKey, Service] = {}
        origins: dict[ServiceKey, Resource[Any]] = {}
        for collection in (SERVICE.collection, SERVICE_ENTRY.collection):
            for resource, digest in collections.get(collection, {}).values():
                for service in self._convert(resource, digest, previous):
                    known = self.by_key.get(service.key)
                    if known is None or (
                        known.source.collection == collection and (service.created, service.source) < (known.created, known.source)
                    ):
                        self.by_key[service.key] = service
                        origins[service.key] = resource
        self.services = tuple(sorted(self.by_key.values(), key=lambda service: (service.created, service.key)))
        self.digest = combine(service.digest for service in self.services)
        listed = collections.get(ENDPOINTS.collection, {})
        self._endpoints = {service.key: self._endpoint_set(service, origins[service.key], listed, previous) for service in self.services}
        self.accounts_digest = combine(repr(self._endpoints[service.key].accounts).encode() for service in self.services)
        self._by_selector: dict[tuple[str, str, str], list[Service]] = {}
        self._by_address: dict[str, list[Service]] = {}
        for service in self.services:
            if service.selector:
                self._by_selector.setdefault((service.namespace, *min(service.selector.items())), []).append(service)
            else:
                for endpoint in self._endpoints[service.key].endpoints:
                    self._by_address.setdefault(endpoint.address, []).append(service)

    def endpoints(self, key: ServiceKey) -> EndpointSet:
        return self._endpoints.get(key, NO_ENDPOINTS)

    def workload_at(self, namespace: str, address: str) -> Workload | None:
        """The workload that registered this address, if it is known and healthy."""
        return self._workloads.get(namespace, NO_WORKLOADS).at(address)

    def served_by(self, namespace: str, labels: Mapping[str, str], addresses: Iterable[str]) -> tuple[Service, ...]:
        """Services that a workload serves: by selector within its namespace, or because an address of it is listed as endpoint.

        Found by labels and not by registration, so that a workload keeps its inbound side while it is unhealthy.
        """
        found: dict[ServiceKey, Service] = {}
        for pair in labels.items():
            for service in self._by_selector.get((namespace, *pair), ()):
                if selects(service.selector, labels):
                    found[service.key] = service
        for address in addresses:
            for service in self._by_address.get(address, ()):
                found[service.key] = service
        return tuple(sorted(found.values(), key=lambda service: (service.created, service.key)))

    def _convert(self, resource: Resource[Any], digest: bytes, previous: ServiceCatalog | None) -> tuple[Service, ...]:
        if previous is not None and (known := previous._converted.get(resource.key)) is not None and known[0] == digest:
            converted = known[1]
        elif resource.kind is SERVICE:
            private = is_private((), self._mesh.defaultServiceExportTo)
            converted = (kubernetes.service(resource, digest, private_by_default=private),)
        else:
            converted = tuple(service_entry.services(resource, digest, default_export=self._mesh.defaultServiceExportTo))
        self._converted[resource.key] = (digest, converted)
        return converted

    def _index_workloads(self, entries: Digested, previous: ServiceCatalog | None) -> dict[str, WorkloadIndex]:
        by_namespace: dict[str, list[tuple[Resource[Any], bytes]]] = {}
        for resource, digest in entries.values():
            by_namespace.setdefault(resource.namespace, []).append((resource, digest))
        indexes: dict[str, WorkloadIndex] = {}
        for namespace, pairs in by_namespace.items():
            old = previous._workloads.get(namespace) if previous is not None else None
            pairs.sort(key=lambda pair: pair[0].key)
            if old is not None and old.digest == combine(digest for _, digest in pairs):
                indexes[namespace] = old
                continue
            known = {workload.key: workload for workload in old.all} if old is not None else {}
            indexes[namespace] = WorkloadIndex(
                known[resource.key]
                if resource.key in known and known[resource.key].digest == digest
                else Workload.of(resource, digest, trust_domain=self._mesh.trustDomain)
                for resource, digest in pairs
            )
        return indexes

    def _endpoint_set(self, service: Service, origin: Resource[Any], listed: Digested, previous: ServiceCatalog | None) -> EndpointSet:
        selected = self._workloads.get(service.namespace, NO_WORKLOADS).select(service.selector)
        explicit = listed.get(ResourceKey(ENDPOINTS.collection, service.namespace, service.name)) if origin.kind is SERVICE else None
        digest = combine((service.digest, explicit[1] if explicit is not None else b"", *(workload.digest for workload in selected)))
        if previous is not None and (old := previous._endpoints.get(service.key)) is not None and old.digest == digest:
            return old
        endpoints: list[Endpoint] = [workload.endpoint(service) for workload in selected]
        if origin.kind is SERVICE_ENTRY:
            endpoints.extend(service_entry.inline_endpoints(service, origin, trust_domain=self._mesh.trustDomain))
        elif service.mesh_external:
            endpoints.append(kubernetes.external_endpoint(service, origin))
        elif explicit is not None:
            endpoints.extend(kubernetes.listed_endpoints(service, explicit[0]))
        accounts = {endpoint.account for endpoint in endpoints if endpoint.account}
        return EndpointSet(tuple(endpoints), tuple(sorted(accounts)), digest)
