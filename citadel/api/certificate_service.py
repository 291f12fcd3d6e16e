# SPDX-License-Identifier: Apache-2.0
"""`istio.v1.auth.IstioCertificateService` over gRPC.

grpcio cannot make a client certificate optional, so Istio's one port is two: 8060 for join tokens over server TLS, 8061 for renewal over
mutual TLS. Both serve this; they differ in what they accept. The request stays bytes until the caller is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog
from cryptography import x509
from google.protobuf.message import DecodeError

from citadel.api.issuance import Issuance, Request
from citadel.authenticators.contract import Evidence
from citadel.errors import AuthorityError, CallerError, CitadelError, RateError
from common.identity.request import API_KEYS_METADATA
from common.identity.tokens import bearer_token
from common.proto.citadel.v1_pb2 import IstioCertificateRequest, IstioCertificateResponse

log = structlog.get_logger("ca")

SERVICE = "istio.v1.auth.IstioCertificateService"
LARGEST_REQUEST = 64 * 1024  # bytes
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (("grpc.max_concurrent_streams", 64), ("grpc.max_metadata_size", 8192))

Context = grpc.aio.ServicerContext[bytes, bytes]


class CertificateService:
    """`token_port` says whether callers come with tokens (their certificate, if any, is not looked at) or with certificates."""

    def __init__(self, issuance: Issuance, jwks: Mapping[str, Any], *, token_port: bool) -> None:
        self._issuance = issuance
        self._trailing = ((API_KEYS_METADATA, msgspec.json.encode(jwks).decode()),)
        self._token_port = token_port

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        return grpc.method_handlers_generic_handler(SERVICE, {"CreateCertificate": grpc.unary_unary_rpc_method_handler(self._create)})

    async def _create(self, request: bytes, context: Context) -> bytes:
        try:
            evidence = _by_token(context) if self._token_port else _by_certificate(context)
            issued = await self._issuance.issue(evidence, lambda: _read(request), peer=_address(context.peer()))
        except CitadelError as error:
            await context.abort(_status(error), str(error))
        except Exception:
            log.exception("CreateCertificate failed")
            await context.abort(grpc.StatusCode.INTERNAL, "Citadel failed; its log says why")
        context.set_trailing_metadata(self._trailing)
        chain = [issued.certificate_pem.decode(), self._issuance.authority.bundle_pem.decode()]
        return IstioCertificateResponse(cert_chain=chain).SerializeToString()


def _read(request: bytes) -> Request:
    try:
        message = IstioCertificateRequest.FromString(request)
    except DecodeError as error:
        raise AuthorityError("CSR_ERROR", "this is not an IstioCertificateRequest") from error
    return message.csr, message.validity_duration


def _by_token(context: Context) -> Evidence:
    given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if len(given) > 1:
        raise CallerError("TOKEN", "one authorization entry is needed, not several")
    text = given[0] if given else ""
    return Evidence(bearer=bearer_token(text if isinstance(text, str) else ""))


def _by_certificate(context: Context) -> Evidence:
    pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
    return Evidence(certificate=x509.load_pem_x509_certificate(pem) if isinstance(pem, bytes) and pem else None)


def _address(peer: str) -> str:
    """`ipv4:10.0.0.1:4711` -> `10.0.0.1`: limits are for a machine, whatever port it calls from."""
    _, _, rest = peer.partition(":")
    return rest.rpartition(":")[0].strip("[]") or peer


def _status(error: CitadelError) -> grpc.StatusCode:
    if isinstance(error, CallerError):
        return grpc.StatusCode.PERMISSION_DENIED if error.code == "REVOKED" else grpc.StatusCode.UNAUTHENTICATED
    if isinstance(error, RateError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    if isinstance(error, AuthorityError) and error.code in ("CSR_ERROR", "TTL_ERROR"):
        return grpc.StatusCode.INVALID_ARGUMENT
    return grpc.StatusCode.INTERNAL
