# SPDX-License-Identifier: Apache-2.0
"""TLS contexts of both directions. Keys and roots are SDS names that the node agent serves, so one context fits every proxy."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from common.config.kinds.networking import TLSSettings
from common.mesh.names import SDS_CERTIFICATE, SDS_CLUSTER, SDS_ROOTS
from pilot.networking.wire import pack

Matcher = common_pb2.SubjectAltNameMatcher

TLS_SOCKET = "envoy.transport_sockets.tls"
MAX_SNI = 255
MESH_ALPN = "istio"
"""What a mesh client offers first: the permissive side tells its mutual TLS from an application's own TLS by it."""


@cache
def _sds_source() -> config_source_pb2.ConfigSource:
    source = config_source_pb2.ConfigSource()
    api = source.api_config_source
    api.api_type = config_source_pb2.ApiConfigSource.GRPC
    api.transport_api_version = config_source_pb2.V3
    api.set_node_on_first_message_only = True
    api.grpc_services.add().envoy_grpc.cluster_name = SDS_CLUSTER
    source.resource_api_version = config_source_pb2.V3
    source.initial_fetch_timeout.SetInParent()
    return source


def _mesh_identity(context: tls_pb2.CommonTlsContext, sans: Iterable[Matcher]) -> None:
    """The workload's certificate, and the mesh's roots with these names allowed."""
    certificate = context.tls_certificate_sds_secret_configs.add()
    certificate.name = SDS_CERTIFICATE
    certificate.sds_config.CopyFrom(_sds_source())
    combined = context.combined_validation_context
    combined.default_validation_context.match_typed_subject_alt_names.extend(sans)
    combined.default_validation_context.SetInParent()
    combined.validation_context_sds_secret_config.name = SDS_ROOTS
    combined.validation_context_sds_secret_config.sds_config.CopyFrom(_sds_source())


def spiffe_exact(identity: str) -> Matcher:
    matcher = Matcher(san_type=Matcher.URI)
    matcher.matcher.exact = identity
    return matcher


def spiffe_prefix(prefix: str) -> Matcher:
    matcher = Matcher(san_type=Matcher.URI)
    matcher.matcher.prefix = prefix
    return matcher


def name_matchers(names: Iterable[str]) -> list[Matcher]:
    """Alternative names as configuration writes them: with a scheme a URI, otherwise a URI or a DNS name."""
    matchers = []
    for name in names:
        types = [Matcher.URI]
        if "://" not in name:
            types.append(Matcher.DNS)
        for san_type in types:
            matcher = Matcher(san_type=san_type)
            matcher.matcher.exact = name
            matchers.append(matcher)
    return matchers


def mutual_upstream(socket: base_pb2.TransportSocket, *, sni: str, sans: Iterable[Matcher], http2: bool) -> None:
    """Istio mutual TLS to a service of the mesh. `sans` must not be empty: any certificate of the mesh would do otherwise."""
    context = tls_pb2.UpstreamTlsContext()
    _mesh_identity(context.common_tls_context, sans)
    _client_parameters(context)
    context.common_tls_context.alpn_protocols.append(MESH_ALPN)
    if http2:
        context.common_tls_context.alpn_protocols.append("h2")
    _set_sni(context, sni)
    socket.name = TLS_SOCKET
    pack(context, socket.typed_config)


def originated_upstream(socket: base_pb2.TransportSocket, settings: TLSSettings, *, sans: tuple[str, ...], http2: bool) -> None:
    """TLS that a DestinationRule asks for (SIMPLE, MUTUAL), with files at the client's proxy.

    Without a CA file nothing is verified, as Istio documents it; names cannot be checked then either (Envoy refuses to, system roots or not).
    """
    context = tls_pb2.UpstreamTlsContext()
    _client_parameters(context)
    if settings.caCertificates:
        validation = context.common_tls_context.validation_context
        validation.trusted_ca.filename = settings.caCertificates
        validation.match_typed_subject_alt_names.extend(name_matchers(settings.subjectAltNames or sans))
    if settings.mode == "MUTUAL":
        certificate = context.common_tls_context.tls_certificates.add()
        certificate.certificate_chain.filename = settings.clientCertificate
        certificate.private_key.filename = settings.privateKey
    if http2:
        context.common_tls_context.alpn_protocols.append("h2")
    _set_sni(context, settings.sni)
    socket.name = TLS_SOCKET
    pack(context, socket.typed_config)


def mutual_downstream(socket: base_pb2.TransportSocket, *, trust_domains: Iterable[str]) -> None:
    """The inbound side of mutual TLS: a certificate of the mesh is required, from one of these trust domains.

    `istio` is never in the server's ALPN list: negotiated over HTTP/2, it would make Envoy speak HTTP/1.
    """
    context = tls_pb2.DownstreamTlsContext()
    _mesh_identity(context.common_tls_context, (spiffe_prefix(f"spiffe://{domain}/") for domain in trust_domains))
    context.require_client_certificate.value = True
    context.common_tls_context.alpn_protocols.extend(("h2", "http/1.1"))
    parameters = context.common_tls_context.tls_params
    parameters.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    parameters.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    socket.name = TLS_SOCKET
    pack(context, socket.typed_config)


def _set_sni(context: tls_pb2.UpstreamTlsContext, name: str) -> None:
    """A name longer than TLS allows would cost the whole cluster; without it only policies on the server name miss it."""
    if len(name.encode()) <= MAX_SNI and "\0" not in name:
        context.sni = name


def _client_parameters(context: tls_pb2.UpstreamTlsContext) -> None:
    """Envoy's clients stop at TLS 1.2 unless told otherwise."""
    parameters = context.common_tls_context.tls_params
    parameters.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    parameters.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
