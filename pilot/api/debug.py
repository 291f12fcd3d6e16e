# SPDX-License-Identifier: Apache-2.0
"""Pilot's debug pages, at Istio 1.4's paths and with its keys, but only for bearers of an API token.

A caller sees the proxies and objects of the namespaces that its token names. `/ready` is open: a probe has no token.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from google.protobuf.json_format import MessageToDict

from common.config.registry import registry
from common.config.resource import ResourceKey
from common.identity.http_auth import authenticated, require
from common.identity.tokens import Caller, TokenVerifier
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from common.telemetry.tracing import UNTRACED_HTTP
from pilot.api.connection import Connection, synchronization
from pilot.api.debug_model import model_pages
from pilot.api.discovery import Discovery
from pilot.api.distribution import standings
from pilot.model.push import COLLECTIONS
from pilot.xds.frames import Framed

Viewer = Annotated[Caller, Depends(require("viewer"))]
WORDS = {"clusters": TYPE_CLUSTER, "endpoints": TYPE_ENDPOINT, "listeners": TYPE_LISTENER, "routes": TYPE_ROUTE}


def debug_app(
    discovery: Discovery, verifier: TokenVerifier, waiting_for: Callable[[], str | None], remark: Callable[[], str | None] = lambda: None
) -> FastAPI:
    """`waiting_for` says why Pilot is not ready (None when it is), `remark` what is not as usual although it is."""
    app = FastAPI(title="Pilot debug", docs_url=None, redoc_url=None, openapi_url=None, telemetry=UNTRACED_HTTP)

    @app.get("/ready")
    async def ready() -> Response:
        reason = waiting_for()
        return PlainTextResponse(remark() or "") if reason is None else JSONResponse({"reason": reason}, 503)

    guard = [Depends(authenticated(verifier))]
    routers = (_proxies(discovery), model_pages(discovery))
    for router in routers:
        app.include_router(router, dependencies=guard)

    @app.get("/debug", dependencies=guard)
    async def index(caller: Viewer) -> list[str]:
        """The pages there are."""
        return sorted(str(getattr(route, "path", "")) for router in routers for route in router.routes)

    return app


def _proxies(discovery: Discovery) -> APIRouter:
    router = APIRouter(prefix="/debug")

    def visible(caller: Caller) -> list[Connection]:
        """Connections that the caller may see; of a proxy that reconnected, the newest last."""
        return sorted(
            (c for c in discovery.connections.values() if caller.may_read(c.node.id.namespace)),
            key=lambda c: (c.node.proxy_id, c.connected_at),
        )

    @router.get("/syncz")
    async def syncz(caller: Viewer) -> list[dict[str, Any]]:
        return [synchronization(connection) for connection in visible(caller)]

    @router.get("/adsz")
    async def adsz(caller: Viewer) -> list[dict[str, Any]]:
        """Who is connected, with the names of what it has."""
        return [_client(connection) for connection in visible(caller)]

    @router.get("/config_dump")
    async def config_dump(caller: Viewer, proxyID: str) -> dict[str, Any]:
        """What the proxy was sent, by type and name, decoded. Discovered virtual hosts stand in their route configurations, as Envoy shows them."""
        found = [connection for connection in visible(caller) if connection.node.proxy_id == proxyID]
        if not found:
            raise HTTPException(404, f"proxy {proxyID!r} is not connected to this Pilot")
        _load_types()
        dump = {word: [_decoded(frame) for frame in _frames(found[-1], type_url)] for word, type_url in WORDS.items()}
        routes = {route["name"]: route["resource"] for route in dump["routes"]}
        for frame in _frames(found[-1], TYPE_VIRTUAL_HOST):
            route = routes.get(frame.name.rpartition("/")[0])
            if route is not None:  # else the proxy dropped it, and its virtual hosts are called removed next
                route.setdefault("virtual_hosts", []).append(_decoded(frame)["resource"])
        return dump

    @router.get("/cdsz")
    async def cdsz(caller: Viewer) -> list[dict[str, Any]]:
        """Clusters of each proxy, decoded."""
        _load_types()
        return [{**_client(c), "Clusters": [_decoded(f) for f in _frames(c, TYPE_CLUSTER)]} for c in visible(caller)]

    @router.get("/edsz")
    async def edsz(caller: Viewer) -> list[dict[str, Any]]:
        """Every load assignment that a proxy watches, once."""
        _load_types()
        seen: dict[str, Framed] = {f.name: f for c in visible(caller) for f in _frames(c, TYPE_ENDPOINT)}
        if not seen:
            raise HTTPException(404, "no proxy watches endpoints")
        return [_decoded(seen[name])["resource"] for name in sorted(seen)]

    @router.get("/push_status")
    async def push_status(caller: Viewer) -> dict[str, Any]:
        epoch = discovery.epoch
        if epoch is None:
            return {}
        return {"Version": epoch.version, "Epoch": epoch.number, "Proxies": len(discovery.connections)}

    @router.get("/config_distribution")
    async def config_distribution(caller: Viewer, resource: str) -> dict[str, Any]:
        """How far one object has come. `resource` is `kind/namespace/name`, or `kind/name` for a kind without namespaces."""
        key = _key(resource)
        if not caller.may_read(key.namespace):
            raise HTTPException(403, f"{caller.name} may not read namespace {key.namespace}")
        if key.collection not in COLLECTIONS:
            raise HTTPException(
                404, {"code": "NOT_FOR_PROXIES", "message": f"no Envoy gets anything made of a {resource.partition('/')[0]}"}
            )
        return {
            "resource": str(key),
            "resourceVersion": discovery.version_of(key),
            "proxies": [
                {"proxy": connection.node.proxy_id, "connection": connection.id, "state": standing}
                for connection, standing in standings(discovery, key, visible(caller))
            ],
        }

    return router


def _key(text: str) -> ResourceKey:
    """Of `kind/namespace/name`. Raises 422."""
    word, *place = text.split("/")
    kind = registry.by_word(word)
    if kind is None or len(place) != (1 if kind.cluster_scoped else 2) or not all(place):
        raise HTTPException(422, f"resource must be kind/namespace/name, or kind/name for kinds without namespaces, not {text!r}")
    return ResourceKey(kind.collection, "" if kind.cluster_scoped else place[0], place[-1])


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
    import envoy.config.route.v3.route_components_pb2 as route_components
    import envoy.config.route.v3.route_pb2 as route

    kinds: dict[str, Any] = {
        TYPE_CLUSTER: cluster.Cluster,
        TYPE_ENDPOINT: endpoint.ClusterLoadAssignment,
        TYPE_LISTENER: listener.Listener,
        TYPE_ROUTE: route.RouteConfiguration,
        TYPE_VIRTUAL_HOST: route_components.VirtualHost,
    }
    message = kinds[frame.type_url].FromString(frame.body)
    return {"name": frame.name, "version": frame.version, "resource": MessageToDict(message, preserving_proto_field_name=True)}


def _load_types() -> None:
    """Every message that may stand in an Any must be imported before it can be shown."""
    import pilot.networking.generator  # noqa: F401 - imports what it generates
