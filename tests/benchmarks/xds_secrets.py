# SPDX-License-Identifier: Apache-2.0
"""Secrets for one Envoy, in the place of a node agent: whatever it asks for, it gets the one certificate or the one root."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse

from common.identity.material import KeyMaterial

SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService/"
STREAMS = 64


class SecretServer(NamedTuple):
    server: grpc.Server
    port: int

    def stop(self) -> None:
        self.server.stop(0)


def secret_server(material: KeyMaterial) -> SecretServer:
    """Serve on a free loopback port until it is stopped."""

    def secret(name: str) -> Secret:
        made = Secret(name=name)
        if name.startswith("ROOTCA"):
            made.validation_context.trusted_ca.inline_bytes = material.roots_pem
        else:
            made.tls_certificate.certificate_chain.inline_bytes = material.certificate_chain_pem
            made.tls_certificate.private_key.inline_bytes = material.private_key_pem
        return made

    def sotw(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[DiscoveryResponse]:
        for request in requests:
            if not request.response_nonce:
                response = DiscoveryResponse(version_info="1", nonce="1", type_url=request.type_url)
                for name in request.resource_names:
                    response.resources.add().Pack(secret(name))
                yield response

    def delta(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[DeltaDiscoveryResponse]:
        for request in requests:
            if request.resource_names_subscribe:
                response = DeltaDiscoveryResponse(nonce="1", type_url=request.type_url)
                for name in request.resource_names_subscribe:
                    response.resources.add(name=name, version="1").resource.Pack(secret(name))
                yield response

    methods = {
        "StreamSecrets": grpc.stream_stream_rpc_method_handler(sotw, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString),
        "DeltaSecrets": grpc.stream_stream_rpc_method_handler(
            delta, DeltaDiscoveryRequest.FromString, DeltaDiscoveryResponse.SerializeToString
        ),
    }

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return methods.get(str(handler_call_details.method).removeprefix(SERVICE))

    server = grpc.server(ThreadPoolExecutor(STREAMS), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return SecretServer(server, port)
