# SPDX-License-Identifier: Apache-2.0
"""Reading X.509 as the mesh means it: exactly one SPIFFE id in a leaf, path validation against our roots, keys and signing requests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.identity.spiffe import SpiffeId


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId | None:
    """The certificate's SPIFFE id, or None unless it holds exactly one URI and that is a well-formed id.

    A second URI would widen what a peer's exact match on one of them means, so such a certificate has no identity at all.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return spiffe_id_of_uris(names.get_values_for_type(x509.UniformResourceIdentifier))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None


def spiffe_id_of_uris(uris: Iterable[str]) -> SpiffeId | None:
    """As `spiffe_id_of`, from the URI names alone."""
    try:
        (only,) = uris
        return SpiffeId.parse(only)
    except ValueError:
        return None


def signed_by_any(certificate: x509.Certificate, roots: Iterable[x509.Certificate]) -> bool:
    """Whether one of `roots` signed this certificate (times and usages are not looked at: TLS does that)."""
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False


def new_key() -> ec.EllipticCurvePrivateKey:
    """P-256: 80,000 a second, where RSA 2048 takes 50 ms each and would hold up the event loop."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError when `pem` is not an elliptic-curve key."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the private key is not an elliptic-curve key")
    return key


def signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A PKCS#10 request, PEM. It names nobody: Citadel decides the names, the request only proves possession of the key."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def half_life(not_before: datetime, not_after: datetime) -> datetime:
    """The middle of a validity: from here on it is renewed."""
    return not_before + (not_after - not_before) / 2
