# SPDX-License-Identifier: Apache-2.0
"""Report: Envoy's access log service. One stream for each worker of a proxy, log name and reporter come with its first message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog
from envoy.service.accesslog.v3 import als_pb2

from common.identity.spiffe import SpiffeId
from common.identity.tls import peer_identity
from mixer.api.attributes_of_log_entries import EntryReader, Reporter, ReporterError
from mixer.api.attributes_of_peers import PeerAttributes
from mixer.errors import MixerError

log = structlog.get_logger("api")

SERVICE: Final = als_pb2.DESCRIPTOR.services_by_name["AccessLogService"].full_name
Context = grpc.aio.ServicerContext[als_pb2.StreamAccessLogsMessage, als_pb2.StreamAccessLogsResponse]
Identify = Callable[[Context], SpiffeId | None]


class ReportSink(Protocol):
    """What is needed of `mixer.dispatch.runtime.Runtime`."""

    async def report(self, bags: Sequence[Mapping[str, Any]]) -> None: ...


class AccessLogService:
    """Turns entries into bags and reports each message as one batch. While a batch is worked on, its stream is not read."""

    def __init__(self, sink: ReportSink, peers: PeerAttributes, *, identify: Identify = peer_identity) -> None:
        self._sink, self._peers, self._identify = sink, peers, identify
        self._failures = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """For `server.add_generic_rpc_handlers`."""
        method = grpc.stream_unary_rpc_method_handler(
            self.stream_access_logs,
            request_deserializer=als_pb2.StreamAccessLogsMessage.FromString,
            response_serializer=als_pb2.StreamAccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": method})

    async def stream_access_logs(
        self, request_iterator: AsyncIterator[als_pb2.StreamAccessLogsMessage], context: Context
    ) -> als_pb2.StreamAccessLogsResponse:
        """Envoy never ends this stream; a proxy that may not report gets PERMISSION_DENIED."""
        identity = self._identify(context)
        if identity is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "reports need a client certificate with one SPIFFE id")
        reader: EntryReader | None = None
        async for message in request_iterator:
            if reader is None:
                try:
                    reader = EntryReader(Reporter.of(identity, message.identifier.node, message.identifier.log_name), self._peers)
                except ReporterError as error:
                    log.warning("a report stream is refused", peer=str(identity), error=str(error))
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
            await self._report(reader, message)
        return als_pb2.StreamAccessLogsResponse()

    async def _report(self, reader: EntryReader, message: als_pb2.StreamAccessLogsMessage) -> None:
        bags = reader.http(message.http_logs.log_entry) + reader.tcp(message.tcp_logs.log_entry)
        if not bags:
            return
        try:
            await self._sink.report(bags)
        except MixerError as error:
            self._failures += 1
            if self._failures % 100 == 1:  # Istio 1.4 logs one in a hundred: a broken handler fails with every batch
                log.warning("parts of a report failed", reporter=str(reader.reporter.identity), failures=self._failures, error=str(error))
