# SPDX-License-Identifier: Apache-2.0
"""Issuing a workload certificate: the names come from the authenticated caller, never from the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from citadel.authority.requests import PublicKey
from citadel.authority.root import BACKDATE, Root
from citadel.errors import AuthorityError
from common.identity.bounds import bounds_extension
from common.identity.certificates import spiffe_id_of
from common.identity.spiffe import SpiffeId
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS, control_plane_dns_name

LONGEST = timedelta(days=90)  # Istio 1.4's max-workload-cert-ttl; nothing configures more

_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_LEAF = x509.BasicConstraints(ca=False, path_length=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingPolicy:
    """How long certificates last. A request for more than `longest` is an error, as in Istio 1.4, unless `clamp`."""

    default: timedelta = timedelta(hours=24)
    longest: timedelta = LONGEST
    clamp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate just signed, with what the store records of it."""

    certificate_pem: bytes
    spiffe_id: SpiffeId
    serial: str
    """Lower-case hexadecimal."""
    key_hash: str
    not_before: datetime
    not_after: datetime


def key_hash(key: PublicKey) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo), lower-case hexadecimal: tells keys apart without keeping them."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


class Authority:
    """Signs with one root. `bundle_pem` is what the mesh is told to trust: this root first, then others of a rotation."""

    def __init__(self, root: Root, policy: IssuingPolicy | None = None, *, other_roots_pem: bytes = b"") -> None:
        self.root = root
        self.policy = policy or IssuingPolicy()
        self.bundle_pem = root.certificate_pem + other_roots_pem
        public = root.certificate.public_key()
        try:
            identifier = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            self._issuer_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        except x509.ExtensionNotFound:
            self._issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)  # type: ignore[arg-type]  # our roots are EC

    def issue(
        self,
        key: PublicKey,
        spiffe_id: SpiffeId,
        *,
        now: datetime,
        validity_seconds: int = 0,
        label_bounds: Mapping[str, str] | None = None,
    ) -> IssuedCertificate:
        """A certificate for `spiffe_id` and a key whose possession was proven (`requested_key`).

        `validity_seconds` of 0 or less means the policy's default. Raises AuthorityError: TTL_ERROR, CA_NOT_READY (the root has expired)
        or CERT_GEN_ERROR.
        """
        not_before, not_after = self._validity(validity_seconds, now)
        serial = x509.random_serial_number()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.certificate.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(_LEAF, critical=True)
            .add_extension(_USAGE, critical=True)
            .add_extension(_PURPOSES, critical=False)
            .add_extension(_names(spiffe_id), critical=True)  # critical because the subject is empty
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self._issuer_key, critical=False)
        )
        if label_bounds:
            builder = builder.add_extension(bounds_extension(label_bounds), critical=False)
        certificate = builder.sign(self.root.key, hashes.SHA256())
        self._inspect(certificate, spiffe_id, now)
        return IssuedCertificate(
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
            spiffe_id=spiffe_id,
            serial=f"{serial:x}",
            key_hash=key_hash(key),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def _validity(self, seconds: int, now: datetime) -> tuple[datetime, datetime]:
        """Never past the root's own end. The back-dating is at most a tenth of the whole, so that a short life keeps its half-life ahead."""
        if now >= self.root.not_after:
            raise AuthorityError("CA_NOT_READY", f"the root expired at {self.root.not_after.isoformat()}")
        longest = min(self.policy.longest, LONGEST)
        if seconds <= 0:
            wanted = min(self.policy.default, longest)
        elif seconds > longest.total_seconds():
            if not self.policy.clamp:
                raise AuthorityError("TTL_ERROR", f"{seconds} s are asked for; at most {longest.total_seconds():.0f} s are granted")
            wanted = longest
        else:
            wanted = timedelta(seconds=seconds)
        not_after = min(now + wanted, self.root.not_after)
        return now - min(BACKDATE, wanted / 10), not_after

    def _inspect(self, certificate: x509.Certificate, spiffe_id: SpiffeId, now: datetime) -> None:
        """Read back what was signed: a mistake above must not leave the house."""
        try:
            certificate.verify_directly_issued_by(self.root.certificate)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise AuthorityError("CERT_GEN_ERROR", "the new certificate does not verify against the root") from error
        leaf = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc <= self.root.not_after
        if leaf.ca or spiffe_id_of(certificate) != spiffe_id or not in_time:
            raise AuthorityError("CERT_GEN_ERROR", "the new certificate is not what was decided")


def _names(spiffe_id: SpiffeId) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
    names += [x509.DNSName(name) for name in dns_names(spiffe_id)]
    return x509.SubjectAlternativeName(names)


def dns_names(spiffe_id: SpiffeId) -> tuple[str, ...]:
    """The DNS names an identity may hold: one for each control-plane account, none for anybody else."""
    if spiffe_id.namespace != ROOT_NAMESPACE:
        return ()
    return tuple(control_plane_dns_name(part) for part, account in SERVICE_ACCOUNTS.items() if account == spiffe_id.service_account)
