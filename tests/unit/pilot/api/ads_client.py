# SPDX-License-Identifier: Apache-2.0
"""A delta ADS client for tests: a node, a certificate (or none), and requests by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from pilot.api.ads import SERVICE


class AdsClient:
    """One stream. `ask` subscribes, `drop` unsubscribes, `hear` takes the next response, `ack` and `nack` answer one."""

    def __init__(self, call: grpc.aio.StreamStreamCall[DeltaDiscoveryRequest, DeltaDiscoveryResponse]) -> None:
        self._call = call

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(
        cls,
        address: str,
        identity: WorkloadIdentity | None,
        *,
        namespace: str = "default",
        account: str = "sleep",
        node_id: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AdsClient]:
        channel = grpc.aio.insecure_channel(address) if identity is None else grpc_channel(identity, address, part="pilot")
        async with channel:
            method = channel.stream_stream(
                f"/{SERVICE}/DeltaAggregatedResources",
                request_serializer=DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=DeltaDiscoveryResponse.FromString,
            )
            call: Any = method()
            client = cls(call)
            client._node_id = node_id or f"sidecar~127.0.0.1~{account}-1.{namespace}~{namespace}.svc.cluster.local"
            client._metadata = dict(metadata) if metadata is not None else {"NAMESPACE": namespace, "SERVICE_ACCOUNT": account}
            try:
                yield client
            finally:
                call.cancel()

    _node_id = ""
    _metadata: dict[str, str]

    async def ask(self, type_url: str, names: Iterable[str] = (), *, known: Mapping[str, str] | None = None) -> None:
        request = DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=list(names), initial_resource_versions=dict(known or {})
        )
        if self._node_id:
            request.node.id = self._node_id
            request.node.metadata.update(self._metadata)
            self._node_id = ""
        await self._call.write(request)

    async def drop(self, type_url: str, names: Iterable[str]) -> None:
        await self._call.write(DeltaDiscoveryRequest(type_url=type_url, resource_names_unsubscribe=list(names)))

    async def hear(self, within: float = 5.0) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(within):
            response = await self._call.read()
        if not isinstance(response, DeltaDiscoveryResponse):
            raise ConnectionError(f"{await self._call.code()}: {await self._call.details()}")
        return response

    async def ack(self, response: DeltaDiscoveryResponse) -> None:
        await self._call.write(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))

    async def nack(self, response: DeltaDiscoveryResponse, message: str) -> None:
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        request.error_detail.message = message
        await self._call.write(request)

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended."""
        async with asyncio.timeout(5):
            return await self._call.code(), await self._call.details() or ""
