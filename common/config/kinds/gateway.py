# SPDX-License-Identifier: Apache-2.0
"""Gateway: the ports, hosts and TLS of a load balancer at the edge of the mesh."""

from __future__ import annotations

from typing import Literal

from common.config.kinds.message import Message, Port

ServerTLSMode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL"]
TLSProtocol = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class ServerTLSOptions(Message, frozen=True, kw_only=True):
    """TLS of one server. Certificates are files at the gateway, or a credential that its agent serves by name."""

    httpsRedirect: bool = False
    mode: ServerTLSMode = "PASSTHROUGH"
    serverCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""
    credentialName: str = ""
    subjectAltNames: tuple[str, ...] = ()
    verifyCertificateSpki: tuple[str, ...] = ()
    verifyCertificateHash: tuple[str, ...] = ()
    minProtocolVersion: TLSProtocol = "TLS_AUTO"
    maxProtocolVersion: TLSProtocol = "TLS_AUTO"
    cipherSuites: tuple[str, ...] = ()


class Server(Message, frozen=True, kw_only=True):
    """One port and the hosts served on it; hosts are `host`, `namespace/host`, `./host` or `*/host`."""

    port: Port
    bind: str = ""
    hosts: tuple[str, ...] = ()
    tls: ServerTLSOptions | None = None
    defaultEndpoint: str = ""


class Gateway(Message, frozen=True, kw_only=True):
    """`selector` chooses the gateway proxies by label; without it every gateway proxy serves these servers."""

    servers: tuple[Server, ...] = ()
    selector: dict[str, str] = {}
