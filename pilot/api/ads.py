# SPDX-License-Identifier: Apache-2.0
"""The Aggregated Discovery Service on grpc.aio: bytes in, bytes out, no (de)serializer between.

Nothing is parsed before the caller is authenticated by TLS, and nothing is generated before its node fits its certificate.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import structlog

from common.identity.tls import peer_identity, peer_label_bounds
from pilot import metrics
from pilot.api.connection import Connection
from pilot.api.discovery import Discovery
from pilot.api.nodes import Described, check_identity, check_labels, describe
from pilot.api.reports import Reports
from pilot.errors import Forbidden, Malformed, NotReady, Refusal, Unauthenticated
from pilot.model.proxy import Proxy
from pilot.xds.queue import Admission
from pilot.xds.requests import DeltaReader, MalformedRequest, Request, SotwReader
from pilot.xds.stream import Stream

log = structlog.get_logger("ads")

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
STATUS = {
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
}
FIRST_REQUEST = 10.0  # seconds within which a stream must say who it is

Context = grpc.aio.ServicerContext[bytes, bytes]


class AggregatedDiscovery(grpc.GenericRpcHandler):
    """Both methods of the service. `trust_domain` is that of the proxies' certificates."""

    def __init__(self, discovery: Discovery, reports: Reports, *, trust_domain: str, admission: Admission) -> None:
        self._discovery, self._reports = discovery, reports
        self._trust_domain, self._admission = trust_domain, admission
        self._methods: dict[str, Any] = {
            f"/{SERVICE}/StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
            f"/{SERVICE}/DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)

    async def _sotw(self, _: object, context: Context) -> None:
        await self._serve(context, SotwReader(self._discovery.sets), delta=False)

    async def _delta(self, _: object, context: Context) -> None:
        await self._serve(context, DeltaReader(self._discovery.sets), delta=True)

    async def _serve(self, context: Context, reader: SotwReader | DeltaReader, *, delta: bool) -> None:
        try:
            await self._converse(context, reader, delta=delta)
        except (Refusal, MalformedRequest) as error:
            refusal = error if isinstance(error, Refusal) else Malformed(str(error))
            metrics.REFUSED_STREAMS.add(1, refusal.code)
            log.log(20 if isinstance(refusal, NotReady) else 30, "a stream is not served", peer=context.peer(), reason=str(refusal))
            await context.abort(STATUS[type(refusal)], str(refusal))

    async def _converse(self, context: Context, reader: SotwReader | DeltaReader, *, delta: bool) -> None:
        if self._discovery.epoch is None:
            raise NotReady("Pilot has no configuration yet; try again")
        await asyncio.sleep(self._admission.wait(asyncio.get_running_loop().time()))
        first = await self._first(context, reader)
        if first is None:
            return
        node = describe(first.node)
        if _is_tls(context):
            check_identity(node, peer_identity(context), trust_domain=self._trust_domain)
            check_labels(node, _label_bounds(context))
        connection = self._connect(context, node, delta=delta)
        log.info("proxy connected", connection=connection.id, peer=context.peer(), delta=delta)
        try:
            connection.receive(first)
            await connection.converse(lambda: self._read(context, reader, connection))
        except asyncio.CancelledError:
            if not connection.cut:
                raise
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the proxy did not take its response in time")
        finally:
            self._discovery.disconnect(connection)
            log.info("proxy disconnected", connection=connection.id)

    async def _first(self, context: Context, reader: SotwReader | DeltaReader) -> Request | None:
        try:
            async with asyncio.timeout(FIRST_REQUEST):
                raw = await context.read()
        except TimeoutError as error:
            raise Malformed(f"no request came within {FIRST_REQUEST:g} s") from error
        return reader.read(raw) if isinstance(raw, bytes) else None

    def _connect(self, context: Context, node: Described, *, delta: bool) -> Connection:
        discovery = self._discovery
        if discovery.epoch is None:
            raise NotReady("Pilot has no configuration yet; try again")
        proxy = Proxy.from_node(node.id, node.metadata, delta=delta, locality=node.locality)
        stream = Stream(proxy, discovery.epoch, delta=delta, sets=discovery.sets, interval=discovery.interval)
        connection = Connection(
            discovery.connection_id(node.proxy_id),
            node,
            stream,
            peer=context.peer(),
            write=context.write,
            reports=self._reports,
            propagation=discovery.propagation,
            since=discovery.since,
        )
        discovery.connect(connection)
        return connection

    @staticmethod
    async def _read(context: Context, reader: SotwReader | DeltaReader, connection: Connection) -> None:
        """Until the proxy ends its side."""
        while isinstance(raw := await context.read(), bytes):
            connection.receive(reader.read(raw))


def _label_bounds(context: Context) -> dict[str, str]:
    try:
        return peer_label_bounds(context)
    except ValueError as error:
        raise Forbidden(f"the label bounds of the client certificate cannot be read: {error}") from error


def _is_tls(context: Context) -> bool:
    """Plaintext streams say so; whatever does not is held to its certificate."""
    return tuple(context.auth_context().get("transport_security_type", ())) != (b"insecure",)
