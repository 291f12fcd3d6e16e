# SPDX-License-Identifier: Apache-2.0
"""Debug pages about what Pilot knows, whoever is connected: objects, services, endpoints."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from common.config.resource import encode
from common.identity.http_auth import require
from common.identity.tokens import Caller
from pilot.api.discovery import Discovery
from pilot.model.service import Endpoint, Port, Service

Viewer = Annotated[Caller, Depends(require("viewer"))]


def model_pages(discovery: Discovery) -> APIRouter:
    """The routes. The application puts authentication before them."""
    router = APIRouter(prefix="/debug")

    def services(caller: Caller) -> list[tuple[Service, tuple[Endpoint, ...]]]:
        if discovery.epoch is None:
            return []
        catalog = discovery.epoch.push.catalog
        found = [service for service in catalog.services if caller.may_read(service.namespace)]
        return [(service, catalog.endpoints(service.key).endpoints) for service in sorted(found, key=lambda each: each.key)]

    @router.get("/configz")
    async def configz(caller: Viewer) -> list[Any]:
        """Every configuration object that Pilot has, as Galley sent it."""
        if discovery.epoch is None:
            return []
        return [
            msgspec.json.decode(encode(resource))
            for collection in sorted(discovery.epoch.push.resources)
            for _, resource in sorted(discovery.epoch.push.resources[collection].items())
            if caller.may_read(resource.namespace)
        ]

    @router.get("/registryz")
    async def registryz(caller: Viewer) -> list[dict[str, Any]]:
        """Every service, in Istio 1.4's keys."""
        return [_service(service, [each.account for each in endpoints if each.account]) for service, endpoints in services(caller)]

    @router.get("/endpointz")
    async def endpointz(caller: Viewer, brief: bool = False) -> Any:
        """Endpoints of each port of each service; `brief=1` as lines of text."""
        rows: list[dict[str, Any]] = [
            {"svc": f"{service.hostname}:{port.name}", "ep": [_endpoint(each, port) for each in endpoints if port.number in each.ports]}
            for service, endpoints in services(caller)
            for port in service.ports
        ]
        if not brief:
            return rows
        return PlainTextResponse("".join(_line(row["svc"], each) for row in rows for each in row["ep"]))

    @router.get("/endpointShardz")
    async def endpoint_shards(caller: Viewer) -> dict[str, Any]:
        """Endpoints by service and namespace. There is one shard: Galley merges the registries before Pilot sees them."""
        found: dict[str, Any] = {}
        for service, endpoints in services(caller):
            found.setdefault(service.hostname, {})[service.namespace] = {
                "Shards": {"galley": [_endpoint(each, port) for port in service.ports for each in endpoints if port.number in each.ports]},
                "ServiceAccounts": dict.fromkeys(sorted({each.account for each in endpoints if each.account}), True),
            }
        return found

    return router


def _service(service: Service, accounts: list[str]) -> dict[str, Any]:
    return {
        "Attributes": {"Name": service.name, "Namespace": service.namespace, "ExportTo": ["." if service.private else "*"]},
        "hostname": service.hostname,
        "address": service.addresses[0] if service.addresses else "0.0.0.0",
        "ports": [{"name": port.name, "port": port.number, "protocol": port.protocol.value} for port in service.ports],
        "serviceAccounts": sorted({*accounts, *service.declared_accounts}),
        "creationTime": service.created,
        "Resolution": service.resolution.value,
        "MeshExternal": service.mesh_external,
    }


def _endpoint(endpoint: Endpoint, port: Port) -> dict[str, Any]:
    return {
        "endpoint": {
            "Address": endpoint.address,
            "Port": endpoint.ports[port.number],
            "ServicePort": {"name": port.name, "port": port.number, "protocol": port.protocol.value},
            "Locality": endpoint.locality,
            "Network": endpoint.network,
            "LbWeight": endpoint.weight,
        },
        "workload": endpoint.workload,
        "labels": dict(endpoint.labels),
        "serviceaccount": endpoint.account,
        "tlsMode": "istio" if endpoint.has_sidecar else "disabled",
    }


def _line(service: str, row: dict[str, Any]) -> str:
    labels = ",".join(f"{key}={value}" for key, value in sorted(row["labels"].items()))
    place = row["endpoint"]
    return f"{service} {place['Address']}:{place['Port']} {labels} {row['serviceaccount']}\n"
