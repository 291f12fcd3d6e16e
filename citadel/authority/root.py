# SPDX-License-Identifier: Apache-2.0
"""The self-signed root: a P-256 key and the certificate that the whole mesh trusts.

Differences from Istio 1.4's root: elliptic instead of RSA 2048, and it has a key identifier and cRLSign, so that chains can be told
apart when a second root arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from citadel.errors import AuthorityError
from common.identity.certificates import key_pem, load_key, new_key

LIFETIME = timedelta(days=3650)  # Istio 1.4's CITADEL_SELF_SIGNED_CA_CERT_TTL
BACKDATE = timedelta(minutes=2)  # clocks of the mesh may differ by this much


@dataclass(frozen=True, slots=True)
class Root:
    """A signing certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, lower-case hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @classmethod
    def of_pem(cls, certificate_pem: bytes, private_key_pem: bytes) -> Root:
        """Raises AuthorityError(CA_NOT_READY) unless certificate and key belong together and may sign."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = load_key(private_key_pem)
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (ValueError, x509.ExtensionNotFound) as error:
            raise AuthorityError("CA_NOT_READY", f"the root cannot be read: {error}") from error
        if not constraints.ca:
            raise AuthorityError("CA_NOT_READY", "the root is not a certificate authority")
        if certificate.public_key() != key.public_key():
            raise AuthorityError("CA_NOT_READY", "the root's key does not belong to its certificate")
        return cls(certificate, key)


def new_root(trust_domain: str, *, now: datetime, lifetime: timedelta = LIFETIME) -> Root:
    """A new self-signed root. Its subject carries its serial, so that two roots of one mesh never share a name."""
    key = new_key()
    serial = x509.random_serial_number()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"mesh root {serial:040x}"[:26]),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Root(certificate, key)
