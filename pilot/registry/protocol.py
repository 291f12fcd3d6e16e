# SPDX-License-Identifier: Apache-2.0
"""Which application protocol a port speaks, from what configuration says about it."""

from __future__ import annotations

from pilot.model.service import Protocol

_BY_NAME = {protocol.value.lower(): protocol for protocol in Protocol if protocol is not Protocol.UNSUPPORTED}
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL, MongoDB: sniffing would wait for bytes that a client of these never sends first."""


def parse(text: str) -> Protocol:
    """Istio's protocol names, in any case; anything else is UNSUPPORTED."""
    return _BY_NAME.get(text.lower(), Protocol.UNSUPPORTED)


def of_service_port(*, name: str, number: int, transport: str, app_protocol: str = "") -> Protocol:
    """A port of a Kubernetes-shaped Service: `appProtocol` if given, else the name as `protocol` or `protocol-suffix`."""
    if transport != "TCP":
        return Protocol.UDP
    if app_protocol and (declared := parse(app_protocol)) is not Protocol.UNSUPPORTED:
        return declared
    if name.lower().startswith("grpc-web"):
        return Protocol.GRPC_WEB
    declared = parse(name.partition("-")[0])
    if declared is Protocol.UNSUPPORTED and number in _SERVER_FIRST:
        return Protocol.TCP
    return declared
