# SPDX-License-Identifier: Apache-2.0
"""A mesh by numbers: namespaces x services x endpoints x proxies, as a YAML file of a few lines.

    namespaces: 20
    services: 1000        # of the whole mesh, dealt out to the namespaces
    endpoints: 10         # of each service
    ports: [9080]         # dealt out to the services
    proxies: 1000
    classes: [{version: v1}, {version: v2}]     # labels of the proxies, in turn
    metadata: {INTERCEPTION_MODE: REDIRECT}     # further node metadata of all proxies
    visible: 0            # services that a Sidecar lets each namespace see; 0: no Sidecar, all are seen

Its objects are those of Kubernetes and Istio, so whatever control plane reads these can be fed with them; its proxies call themselves as
Istio's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from envoy.config.core.v3.base_pb2 import Node

NETWORKING = "networking.istio.io/v1alpha3"
Document = dict[str, Any]


class Service(NamedTuple):
    """`svc-7` of `ns-7`; it has one port."""

    number: int
    namespace: str
    port: int

    @property
    def name(self) -> str:
        return f"svc-{self.number}"

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"


class Mesh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers."""

    namespaces: int = 20
    services: int = 1000
    endpoints: int = 10
    ports: tuple[int, ...] = (9080,)
    proxies: int = 1000
    classes: tuple[dict[str, str], ...] = ({"version": "v1"}, {"version": "v2"})
    metadata: dict[str, str] = {}
    visible: int = 0

    @classmethod
    def read(cls, path: Path) -> Mesh:
        return msgspec.yaml.decode(path.read_bytes(), type=cls)

    def namespace(self, number: int) -> str:
        return f"ns-{number % self.namespaces}"

    def service(self, number: int) -> Service:
        return Service(number, self.namespace(number), self.ports[number // self.namespaces % len(self.ports)])

    def all_services(self) -> Iterator[Service]:
        return (self.service(number) for number in range(self.services))

    # -- objects --------------------------------------------------------------------------------------------------------------------

    def documents(self) -> Iterator[Document]:
        """Services, their endpoints, and the Sidecars of a scoped mesh."""
        for service in self.all_services():
            port = {"name": "http", "port": service.port}
            yield _document("v1", "Service", service.namespace, service.name, {"ports": [port], "selector": {"app": service.name}})
        for service in self.all_services():
            for number in range(self.endpoints):
                yield self.endpoint(service, number)
        if self.visible:
            for number in range(self.namespaces):
                hosts = [f"*/{self.service((number + step) % self.services).host}" for step in range(self.visible)]
                yield _document(NETWORKING, "Sidecar", self.namespace(number), "default", {"egress": [{"hosts": hosts}]})

    def endpoint(self, service: Service, number: int, *, generation: int = 0) -> Document:
        """One endpoint. Each generation has another address, so a change of it cannot be mistaken."""
        spec = {
            "address": address(service.number * self.endpoints + number, generation),
            "labels": {"app": service.name, "security.istio.io/tlsMode": "istio", **self.classes[number % len(self.classes)]},
            "serviceAccount": service.name,
        }
        return _document(NETWORKING, "WorkloadEntry", service.namespace, f"{service.name}-{number}", spec)

    def route(self, service: Service, generation: int) -> Document:
        """A VirtualService; its generation is in a header that it sets."""
        headers = {"request": {"set": {"x-generation": marker(generation)}}}
        http = [{"headers": headers, "route": [{"destination": {"host": service.host}}]}]
        return _document(NETWORKING, "VirtualService", service.namespace, service.name, {"hosts": [service.host], "http": http})

    def route_for_all(self, service: Service, generation: int) -> Document:
        """A VirtualService for all services that have none of their own."""
        document = self.route(service, generation)
        return {
            **document,
            "metadata": {**document["metadata"], "name": "all"},
            "spec": {**document["spec"], "hosts": ["*.svc.cluster.local"]},
        }

    # -- proxies --------------------------------------------------------------------------------------------------------------------

    def node(self, number: int) -> Node:
        """Proxy `number` runs beside a workload of service `number`, with a service account of its own."""
        service = self.service(number % self.services)
        labels = {"app": service.name, **self.classes[number % len(self.classes)]}
        account = self.account(number)
        node = Node(id=f"sidecar~{address(number, 200)}~proxy-{number}.{service.namespace}~{service.namespace}.svc.cluster.local")
        node.cluster = service.name
        node.metadata.update(
            {
                "NAMESPACE": account[0],
                "SERVICE_ACCOUNT": account[1],
                "LABELS": labels,
                "ISTIO_VERSION": "1.4.10",
                **self.metadata,
            }
        )
        return node

    def account(self, number: int) -> tuple[str, str]:
        """Namespace and service account of a proxy."""
        return self.service(number % self.services).namespace, f"proxy-{number}"


def address(number: int, generation: int = 0) -> str:
    """Unique for 65,536 numbers in each of 245 generations."""
    return f"{10 + generation % 245}.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def marker(generation: int) -> str:
    return f"generation-{generation:06d}"


def _document(api: str, kind: str, namespace: str, name: str, spec: dict[str, Any]) -> Document:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
