# SPDX-License-Identifier: Apache-2.0
"""TLS from a WorkloadIdentity: gRPC servers and channels, and `ssl` contexts, that follow rotation without a restart.

A peer is known by the one SPIFFE URI in its certificate. Python's gRPC client and `ssl` cannot check a URI, only a DNS name; therefore
the four parts, and nobody else, also hold a DNS name (`common.mesh.names.control_plane_dns_name`), and clients check that.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
from cryptography import x509

from common.identity.bounds import bounds_of
from common.identity.certificates import spiffe_id_of, spiffe_id_of_uris
from common.identity.material import KeyMaterial, WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.mesh.names import control_plane_dns_name


def grpc_server_credentials(identity: WorkloadIdentity, *, require_client: bool = True) -> grpc.ServerCredentials:
    """Mutual TLS for one listener of a gRPC server. Every handshake uses the material of that moment.

    grpcio cannot ask for an optional client certificate: without `require_client` it asks for none at all.
    """

    def configuration(material: KeyMaterial) -> grpc.ServerCertificateConfiguration:
        pair = (material.private_key_pem, material.certificate_chain_pem)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=material.roots_pem)

    served = identity.current

    def fetch() -> grpc.ServerCertificateConfiguration | None:  # on gRPC's thread, once for each handshake
        nonlocal served
        material = identity.current
        if material is served:
            return None  # no change. gRPC's core frees whatever it is given, so a configuration must never be handed out twice
        served = material
        return configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        configuration(served),
        fetch,  # type: ignore[arg-type]  # gRPC documents None, its stubs forgot it
        require_client_authentication=require_client,
    )


def grpc_channel(
    identity: WorkloadIdentity, address: str, *, part: str | None, options: Sequence[tuple[str, Any]] = ()
) -> grpc.aio.Channel:
    """A mutual TLS channel to `address` (`host:port`), whose server must be `part` (galley, pilot, citadel, mixer).

    With `part=None` the server must hold the DNS name of the address. A channel keeps the certificate it was made with, for its
    reconnections too: whoever lives longer than a certificate makes a new channel for each new connection.
    """
    material = identity.current
    credentials = grpc.ssl_channel_credentials(material.roots_pem, material.private_key_pem, material.certificate_chain_pem)
    return grpc.aio.secure_channel(address, credentials, options=[*server_name_options(part), *options])


def server_name_options(part: str | None) -> list[tuple[str, Any]]:
    """Channel options by which a gRPC client checks that the server is `part`, whatever its address."""
    if part is None:
        return []
    name = control_plane_dns_name(part)
    return [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]


def ssl_context(identity: WorkloadIdentity, *, server: bool, require_client: bool = True) -> ssl.SSLContext:
    """A context for asyncio, uvicorn or httpx. New handshakes use the newest certificate.

    Server: the roots are replaced too. Client: roots are only added, because OpenSSL cannot take one out of a live context; it checks
    the host name it is given, so pass `control_plane_dns_name(part)` as `server_hostname` (httpx: extension `sni_hostname`).
    """
    context = _context(identity.current, server=server, require_client=require_client)
    if not server:
        identity.subscribe(lambda material: _load(context, material))
        return context

    newest = context

    def renew(material: KeyMaterial) -> None:
        nonlocal newest
        newest = _context(material, server=True, require_client=require_client)

    def swap(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, original: ssl.SSLContext) -> None:  # at each ClientHello
        if connection.context is not newest:
            connection.context = newest

    identity.subscribe(renew)
    context.sni_callback = swap
    return context


def peer_identity(context: grpc.aio.ServicerContext[Any, Any] | grpc.ServicerContext) -> SpiffeId | None:
    """The SPIFFE id of a gRPC caller, from its verified client certificate; None without one, or when it holds several URIs."""
    properties = context.auth_context()
    try:
        return spiffe_id_of_uris([value.decode() for value in properties.get("peer_uri", ()) if isinstance(value, bytes)])
    except UnicodeDecodeError:
        return None


def peer_label_bounds(context: grpc.aio.ServicerContext[Any, Any] | grpc.ServicerContext) -> dict[str, str]:
    """What a gRPC caller's certificate allows it to call itself (`common.identity.bounds`). Raises ValueError when that cannot be read."""
    (pem,) = context.auth_context().get("x509_pem_cert", (b"",))
    return bounds_of(x509.load_pem_x509_certificate(pem)) if isinstance(pem, bytes) and pem else {}


def peer_of_certificate(der: bytes | None) -> SpiffeId | None:
    """The SPIFFE id in a peer certificate that TLS has verified: `ssl_object.getpeercert(binary_form=True)`."""
    if not der:
        return None
    try:
        return spiffe_id_of(x509.load_der_x509_certificate(der))
    except ValueError:
        return None


def _context(material: KeyMaterial, *, server: bool, require_client: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server:
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_NONE
    _load(context, material)
    return context


def _load(context: ssl.SSLContext, material: KeyMaterial) -> None:
    with _in_memory(material.certificate_chain_pem + material.private_key_pem) as path:
        context.load_cert_chain(path)
    context.load_verify_locations(cadata=material.roots_pem.decode())


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path that only this process can open: `ssl` loads keys from files, and ours shall not touch a disk for that."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
