# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pilot.model.service import Protocol
from pilot.registry.protocol import of_service_port, parse


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("http", 80, Protocol.HTTP),
        ("http-web", 80, Protocol.HTTP),
        ("HTTP-web", 80, Protocol.HTTP),
        ("http2", 80, Protocol.HTTP2),
        ("grpc-api", 80, Protocol.GRPC),
        ("grpc-web-ui", 80, Protocol.GRPC_WEB),
        ("https", 443, Protocol.HTTPS),
        ("tls-x", 443, Protocol.TLS),
        ("mongo", 27017, Protocol.MONGO),
        ("tcp-db", 3306, Protocol.TCP),
        ("", 80, Protocol.UNSUPPORTED),
        ("httpweb", 80, Protocol.UNSUPPORTED),
        ("web", 3306, Protocol.TCP),
    ],
)
def test_names_of_service_ports(name: str, number: int, expected: Protocol) -> None:
    assert of_service_port(name=name, number=number, transport="TCP") is expected


def test_the_transport_and_a_declared_protocol_come_first() -> None:
    assert of_service_port(name="http", number=53, transport="UDP") is Protocol.UDP
    assert of_service_port(name="web", number=80, transport="TCP", app_protocol="http") is Protocol.HTTP
    assert of_service_port(name="http", number=80, transport="TCP", app_protocol="example.com/odd") is Protocol.HTTP


@pytest.mark.parametrize("protocol", [protocol for protocol in Protocol if protocol is not Protocol.UNSUPPORTED])
def test_every_protocol_is_read_in_any_case(protocol: Protocol) -> None:
    assert parse(protocol.value.swapcase()) is protocol
