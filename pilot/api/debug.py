# SPDX-License-Identifier: Apache-2.0
"""Pilot's debug pages, at Istio 1.4's paths and with its keys, but only for bearers of an API token.

A caller sees the proxies and objects of the namespaces that its token names. `/ready` is open: a probe has no token.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse
from google.protobuf.json_format import MessageToDict

from common.config.resource import encode
from common.identity.http_auth import authenticated, require
from common.identity.tokens import Caller, TokenVerifier
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE
from pilot.api.connection import Connection, synchronization
from pilot.api.discovery import Discovery
from pilot.xds.cache import Framed

Viewer = Annotated[Caller, Depends(require("viewer"))]
WORDS = {"clusters": TYPE_CLUSTER, "endpoints": TYPE_ENDPOINT, "listeners": TYPE_LISTENER, "routes": TYPE_ROUTE}


def debug_app(discovery: Discovery, verifier: TokenVerifier, waiting_for: Callable[[], str | None]) -> FastAPI:
    """`waiting_for` says why Pilot is not ready; None when it is."""
    app = FastAPI(title="Pilot debug", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/ready")
    async def ready() -> Response:
        reason = waiting_for()
        return Response(status_code=200) if reason is None else JSONResponse({"reason": reason}, 503)

    app.include_router(_router(discovery, verifier))
    return app


def _router(discovery: Discovery, verifier: TokenVerifier) -> APIRouter:
    router = APIRouter(prefix="/debug", dependencies=[Depends(authenticated(verifier))])

    def visible(caller: Caller) -> list[Connection]:
        """Connections that the caller may see; of a proxy that reconnected, the newest last."""
        return sorted(
            (c for c in discovery.connections.values() if caller.may_read(c.node.id.namespace)),
            key=lambda c: (c.node.proxy_id, c.connected_at),
        )

    @router.get("")
    async def index(caller: Viewer) -> list[str]:
        return sorted(route.path for route in router.routes if hasattr(route, "path"))

    @router.get("/syncz")
    async def syncz(caller: Viewer) -> list[dict[str, Any]]:
        return [synchronization(connection) for connection in visible(caller)]

    @router.get("/adsz")
    async def adsz(caller: Viewer) -> list[dict[str, Any]]:
        return [_client(connection) for connection in visible(caller)]

    @router.get("/config_dump")
    async def config_dump(caller: Viewer, proxyID: str) -> dict[str, Any]:
        """What the proxy was sent, by type and name, decoded."""
        found = [connection for connection in visible(caller) if connection.node.proxy_id == proxyID]
        if not found:
            raise HTTPException(404, f"proxy {proxyID!r} is not connected to this Pilot")
        _load_types()
        return {word: [_decoded(frame) for frame in _frames(found[-1], type_url)] for word, type_url in WORDS.items()}

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

    @router.get("/endpointz")
    async def endpointz(caller: Viewer) -> list[dict[str, Any]]:
        """Endpoints by cluster, as the connected proxies have them."""
        _load_types()
        seen: dict[str, Any] = {}
        for connection in visible(caller):
            for frame in _frames(connection, TYPE_ENDPOINT):
                if frame.name not in seen:
                    seen[frame.name] = _decoded(frame)["resource"].get("endpoints", [])
        return [{"svc": name, "ep": seen[name]} for name in sorted(seen)]

    @router.get("/push_status")
    async def push_status(caller: Viewer) -> dict[str, Any]:
        epoch = discovery.epoch
        if epoch is None:
            return {}
        return {"Version": epoch.version, "Epoch": epoch.number, "Proxies": len(discovery.connections)}

    return router


def _client(connection: Connection) -> dict[str, Any]:
    def names(type_url: str) -> list[str]:
        return [frame.name for frame in _frames(connection, type_url)]

    return {
        "node": connection.node.proxy_id,
        "connection": connection.id,
        "addr": connection.peer,
        "connect": datetime.fromtimestamp(connection.connected_at, UTC).isoformat(timespec="milliseconds"),
        "delta": connection.stream.is_delta,
        "listeners": names(TYPE_LISTENER),
        "RDSRoutes": names(TYPE_ROUTE),
        "clusters": names(TYPE_CLUSTER),
    }


def _frames(connection: Connection, type_url: str) -> list[Framed]:
    subscription = connection.stream.subscriptions.get(type_url)
    return list(subscription.view) if subscription is not None and subscription.view is not None else []


def _decoded(frame: Framed) -> dict[str, Any]:
    import envoy.config.cluster.v3.cluster_pb2 as cluster
    import envoy.config.endpoint.v3.endpoint_pb2 as endpoint
    import envoy.config.listener.v3.listener_pb2 as listener
    import envoy.config.route.v3.route_pb2 as route

    kinds: dict[str, Any] = {
        TYPE_CLUSTER: cluster.Cluster,
        TYPE_ENDPOINT: endpoint.ClusterLoadAssignment,
        TYPE_LISTENER: listener.Listener,
        TYPE_ROUTE: route.RouteConfiguration,
    }
    message = kinds[frame.type_url].FromString(frame.body)
    return {"name": frame.name, "version": frame.version, "resource": MessageToDict(message, preserving_proto_field_name=True)}


def _load_types() -> None:
    """Every message that may stand in an Any must be imported before it can be shown."""
    import pilot.networking.generator  # noqa: F401 - imports what it generates
