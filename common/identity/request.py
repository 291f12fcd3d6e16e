# SPDX-License-Identifier: Apache-2.0
"""The client of `istio.v1.auth.IstioCertificateService`: one signing request, by token or by certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.identity.certificates import key_pem, signed_by_any, signing_request
from common.identity.errors import EnrolmentError
from common.identity.material import Jwks, KeyMaterial, WorkloadIdentity
from common.identity.tls import grpc_channel, server_name_options
from common.proto.citadel.v1_pb2 import IstioCertificateRequest
from common.proto.citadel.v1_pb2_grpc import IstioCertificateServiceStub

API_KEYS_METADATA = "x-fourmast-api-keys"
"""Trailing metadata of CreateCertificate: Citadel's JWKS, so that a part can verify API tokens from its first moment on."""
DEADLINE = 5.0  # seconds for one attempt
_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)


class CitadelUnavailable(Exception):
    """No answer, or one that says to try again. The text is gRPC's."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What Citadel gives for a request."""

    material: KeyMaterial
    api_keys: Jwks

    def chains_to(self, roots_pem: bytes) -> bool:
        """Whether one of these roots signed the certificate. The chain is one long: our roots sign leaves directly."""
        leaf = x509.load_pem_x509_certificate(self.material.certificate_chain_pem)
        return signed_by_any(leaf, x509.load_pem_x509_certificates(roots_pem))


async def request_certificate(
    address: str, *, key: ec.EllipticCurvePrivateKey, token: str, roots_pem: bytes, validity_seconds: int = 0
) -> Issued:
    """By join token, over server TLS whose certificate must be Citadel's. Raises EnrolmentError or CitadelUnavailable."""
    credentials = grpc.ssl_channel_credentials(roots_pem)
    async with grpc.aio.secure_channel(address, credentials, options=server_name_options("citadel")) as channel:
        return await _create(channel, key, (("authorization", f"Bearer {token}"),), validity_seconds)


async def renew_certificate(
    address: str, *, identity: WorkloadIdentity, key: ec.EllipticCurvePrivateKey, validity_seconds: int = 0
) -> Issued:
    """By the present certificate, over mutual TLS. Raises EnrolmentError or CitadelUnavailable."""
    async with grpc_channel(identity, address, part="citadel") as channel:
        return await _create(channel, key, (), validity_seconds)


async def _create(
    channel: grpc.aio.Channel, key: ec.EllipticCurvePrivateKey, metadata: tuple[tuple[str, str], ...], seconds: int
) -> Issued:
    request = IstioCertificateRequest(csr=signing_request(key).decode(), validity_duration=seconds)
    call = IstioCertificateServiceStub(channel).CreateCertificate(request, metadata=metadata, timeout=DEADLINE)  # type: ignore[no-untyped-call]
    try:
        chain: list[str] = list((await call).cert_chain)
        trailing = dict(await call.trailing_metadata() or ())
    except grpc.aio.AioRpcError as error:
        if error.code() in _REFUSALS:
            raise EnrolmentError("REFUSED", f"Citadel refused: {error.details()}") from error
        raise CitadelUnavailable(f"{error.code().name}: {error.details()}") from error
    if len(chain) < 2:
        raise EnrolmentError("ANSWER", "Citadel's answer holds no trust bundle")
    try:
        material = KeyMaterial.of(
            certificate_chain_pem="".join(chain[:-1]).encode(), private_key_pem=key_pem(key), roots_pem=chain[-1].encode()
        )
        return Issued(material, _api_keys(trailing.get(API_KEYS_METADATA)))
    except ValueError as error:
        raise EnrolmentError("ANSWER", f"Citadel's answer cannot be used: {error}") from error


def _api_keys(text: Any) -> Jwks:
    """An Istio CA sends none; then API tokens are simply not accepted."""
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {"keys": []}
