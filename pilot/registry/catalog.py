# SPDX-License-Identifier: Apache-2.0
"""All services of the mesh with their endpoints: the aggregate of the registries.

Built anew for every change, but out of what the catalog before already converted: unchanged resources keep their services, and a service whose
workloads did not change keeps its endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from common.config.kinds.core import ENDPOINTS, SERVICE
from common.config.kinds.mesh import MeshConfig
from common.config.kinds.networking import SERVICE_ENTRY, WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from pilot.model.digest import combine
from pilot.model.labels import selects
from pilot.model.order import is_private
from pilot.model.service import NO_ENDPOINTS, Endpoint, EndpointSet, Resolution, Service, ServiceKey
from pilot.registry import kubernetes, service_entry
from pilot.registry.workloads import NO_WORKLOADS, Workload, WorkloadIndex

COLLECTIONS = (SERVICE.collection, ENDPOINTS.collection, SERVICE_ENTRY.collection, WORKLOAD_ENTRY.collection)
"""What the catalog is made of."""

Digested = Mapping[ResourceKey, tuple[Resource[Any], bytes]]
"""Resources of one collection with their content hashes."""


class ServiceCatalog:
    """Services by key and in order (oldest first, then by name), endpoints by service, and who serves what."""

    by_key: dict[ServiceKey, Service]
    services: tuple[Service, ...]
    digest: bytes
    """Of all services; endpoints have no part in it."""
    accounts_digest: bytes
    """Of the accounts under which services are served."""
    _converted: dict[ResourceKey, tuple[bytes, tuple[Service, ...]]]
    _origins: dict[ServiceKey, Resource[Any]]
    _by_selector: dict[tuple[str, str, str], list[Service]]
    _endpoints: dict[ServiceKey, EndpointSet]
    _by_address: dict[str, list[Service]]
    _listed_digest: bytes

    def __init__(
        self,
        collections: Mapping[str, Digested],
        mesh: MeshConfig,
        previous: ServiceCatalog | None = None,
        changed: Mapping[str, AbstractSet[ResourceKey]] = {},
    ):
        """`changed` says, by collection, which keys have another content than in `previous`."""
        self._mesh = mesh
        self._settings = (mesh.trustDomain, mesh.defaultServiceExportTo)
        if previous is not None and previous._settings != self._settings:
            previous = None
        self._workloads = self._index_workloads(collections.get(WORKLOAD_ENTRY.collection, {}), previous, changed)
        if previous is None or changed.get(SERVICE.collection) or changed.get(SERVICE_ENTRY.collection):
            self._index_services(collections, previous)
        else:
            self._converted, self._origins, self._by_selector = previous._converted, previous._origins, previous._by_selector
            self.by_key, self.services, self.digest = previous.by_key, previous.services, previous.digest
        self._index_endpoints(collections.get(ENDPOINTS.collection, {}), previous, changed.get(ENDPOINTS.collection, frozenset()))

    def _index_services(self, collections: Mapping[str, Digested], previous: ServiceCatalog | None) -> None:
        self._converted = {}
        self._origins = {}
        self.by_key = {}
        for collection in (SERVICE.collection, SERVICE_ENTRY.collection):
            for key, (resource, digest) in collections.get(collection, {}).items():
                for service in self._convert(key, resource, digest, previous):
                    known = self.by_key.get(service.key)
                    if known is None or (
                        known.source.collection == collection and (service.created, service.source) < (known.created, known.source)
                    ):
                        self.by_key[service.key] = service
                        self._origins[service.key] = resource
        self.services = tuple(sorted(self.by_key.values(), key=lambda service: (service.created, service.key)))
        self.digest = combine(service.digest for service in self.services)
        self._by_selector = {}
        for service in self.services:
            if service.selector:
                self._by_selector.setdefault((service.namespace, *min(service.selector.items())), []).append(service)

    def _index_endpoints(self, listed: Digested, previous: ServiceCatalog | None, changed: AbstractSet[ResourceKey]) -> None:
        """Of the services that something changed for; the others keep their endpoints."""
        if previous is None:
            self._endpoints = {}
            stale: Iterable[Service] = self.services
        else:
            moved = {name for name, index in self._workloads.items() if previous._workloads.get(name) is not index}
            moved |= previous._workloads.keys() - self._workloads.keys()
            relisted = {(key.namespace, key.name) for key in changed}
            same = self.by_key is previous.by_key
            stale = [
                service
                for service in self.services
                if (service.namespace in moved and service.selector)
                or (relisted and (service.namespace, service.name) in relisted)
                or not (same or previous.by_key.get(service.key) is service)
            ]
            known = previous._endpoints
            self._endpoints = dict(known) if same else {key: known[key] for key in self.by_key if key in known}
        accounts_differ = relocated = previous is None or self.by_key is not previous.by_key
        for service in stale:
            old = previous._endpoints.get(service.key) if previous is not None else None
            found = self._endpoint_set(service, self._origins[service.key], listed, old)
            self._endpoints[service.key] = found
            accounts_differ = accounts_differ or old is None or old.accounts != found.accounts
            relocated = relocated or (found is not old and not service.selector)
        if previous is not None and not accounts_differ:
            self.accounts_digest = previous.accounts_digest
        else:
            self.accounts_digest = combine(repr(self._endpoints[service.key].accounts).encode() for service in self.services)
        if previous is not None and not relocated:
            self._by_address, self._listed_digest = previous._by_address, previous._listed_digest
            return
        self._by_address = {}
        fixed = [service for service in self.services if not service.selector]
        for service in fixed:
            for endpoint in self._endpoints[service.key].endpoints:
                self._by_address.setdefault(endpoint.address, []).append(service)
        self._listed_digest = combine(self._endpoints[service.key].digest for service in fixed)

    def serving_digest(self, namespace: str) -> bytes:
        """Hash of all that `served_by`, `workload_at` and the endpoints of services without a selector say to proxies of a namespace."""
        return combine((self.digest, self._listed_digest, self._workloads.get(namespace, NO_WORKLOADS).targets_digest))

    @cached_property
    def all_serving_digest(self) -> bytes:
        """`serving_digest` of all namespaces."""
        return combine(self.serving_digest(namespace) for namespace in sorted(self._workloads))

    @cached_property
    def inlined_digest(self) -> bytes:
        """Hash of the endpoints that clusters carry with them."""
        inlined = (service for service in self.services if service.resolution is Resolution.DNS)
        return combine(self._endpoints[service.key].digest for service in inlined)

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

    def _convert(self, key: ResourceKey, resource: Resource[Any], digest: bytes, previous: ServiceCatalog | None) -> tuple[Service, ...]:
        if previous is not None and (known := previous._converted.get(key)) is not None and known[0] == digest:
            converted = known[1]
        elif resource.kind is SERVICE:
            private = is_private((), self._mesh.defaultServiceExportTo)
            converted = (kubernetes.service(resource, digest, private_by_default=private),)
        else:
            converted = tuple(service_entry.services(resource, digest, default_export=self._mesh.defaultServiceExportTo))
        self._converted[key] = (digest, converted)
        return converted

    def _index_workloads(
        self, entries: Digested, previous: ServiceCatalog | None, changed: Mapping[str, AbstractSet[ResourceKey]]
    ) -> dict[str, WorkloadIndex]:
        if previous is not None:
            indexes = dict(previous._workloads)
            by_namespace: dict[str, list[ResourceKey]] = {}
            for key in changed.get(WORKLOAD_ENTRY.collection, ()):
                by_namespace.setdefault(key.namespace, []).append(key)
            for namespace, keys in by_namespace.items():
                known = {workload.key: workload for workload in indexes.pop(namespace, NO_WORKLOADS).all}
                for key in keys:
                    known.pop(key, None)
                known.update((key, self._workload(*entries[key])) for key in keys if key in entries)
                if known:
                    indexes[namespace] = WorkloadIndex(known.values())
            return indexes
        found: dict[str, list[Workload]] = {}
        for key, entry in entries.items():
            found.setdefault(key.namespace, []).append(self._workload(*entry))
        return {namespace: WorkloadIndex(workloads) for namespace, workloads in found.items()}

    def _workload(self, resource: Resource[Any], digest: bytes) -> Workload:
        return Workload.of(resource, digest, trust_domain=self._mesh.trustDomain)

    def _endpoint_set(self, service: Service, origin: Resource[Any], listed: Digested, old: EndpointSet | None) -> EndpointSet:
        selected = self._workloads.get(service.namespace, NO_WORKLOADS).select(service.selector)
        explicit = listed.get(ResourceKey(ENDPOINTS.collection, service.namespace, service.name)) if origin.kind is SERVICE else None
        digest = combine((service.digest, explicit[1] if explicit is not None else b"", *(workload.digest for workload in selected)))
        if old is not None and old.digest == digest:
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
