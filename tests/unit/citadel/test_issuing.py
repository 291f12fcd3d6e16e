# SPDX-License-Identifier: Apache-2.0
"""What the authority signs, read back from the certificates themselves."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from citadel.authority.issuing import LONGEST, Authority, IssuedCertificate, IssuingPolicy, dns_names
from citadel.authority.requests import requested_key
from citadel.authority.root import BACKDATE, Root, new_root
from citadel.errors import AuthorityError
from common.identity.certificates import half_life, new_key, signing_request, spiffe_id_of
from common.identity.spiffe import SpiffeId
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT = new_root("cluster.local", now=NOW)
SLEEP = SpiffeId("cluster.local", "default", "sleep")
authority = Authority(ROOT)


def issue(by: Authority = authority, *, seconds: int = 0, now: datetime = NOW, spiffe_id: SpiffeId = SLEEP) -> IssuedCertificate:
    return by.issue(requested_key(signing_request(new_key()).decode()), spiffe_id, validity_seconds=seconds, now=now)


def read(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate_pem)


def test_a_leaf_has_what_envoy_and_grpc_need_and_no_more() -> None:
    leaf = read(issue())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert [(type(name), name.value) for name in names.value] == [(x509.UniformResourceIdentifier, str(SLEEP))]
    assert leaf.subject == x509.Name([])
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    identifier = ROOT.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    leaf.verify_directly_issued_by(ROOT.certificate)


def test_names_in_the_request_are_ignored() -> None:
    key = new_key()
    wish = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/istio-system/sa/admin"), x509.DNSName("istio-galley.istio-system.svc")]
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "istio-galley")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(wish, critical=False)
    request = request.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    csr = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    leaf = read(authority.issue(requested_key(csr), SLEEP, now=NOW))
    assert spiffe_id_of(leaf) == SLEEP
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []
    assert leaf.subject == x509.Name([])
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_only_the_four_accounts_of_the_control_plane_have_a_dns_name() -> None:
    for part, account in SERVICE_ACCOUNTS.items():
        leaf = read(issue(spiffe_id=SpiffeId("cluster.local", ROOT_NAMESPACE, account)))
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"istio-{part}.istio-system.svc"]
        assert dns_names(SpiffeId("cluster.local", "default", account)) == ()
    assert dns_names(SpiffeId("cluster.local", ROOT_NAMESPACE, "istio-ingressgateway-service-account")) == ()


@given(seconds=st.integers(1, int(LONGEST.total_seconds())))
@settings(max_examples=30)
def test_every_granted_validity_is_kept_and_leaves_half_of_it_ahead(seconds: int) -> None:
    leaf = read(issue(seconds=seconds))
    assert abs((leaf.not_valid_after_utc - NOW).total_seconds() - seconds) <= 1
    assert timedelta(0) <= NOW - leaf.not_valid_before_utc <= BACKDATE + timedelta(seconds=1)
    if seconds >= 10:
        assert half_life(leaf.not_valid_before_utc, leaf.not_valid_after_utc) > NOW


@pytest.mark.parametrize("seconds", [0, -1, -(2**63)])
def test_no_wish_means_a_day(seconds: int) -> None:
    assert read(issue(seconds=seconds)).not_valid_after_utc == NOW + timedelta(hours=24)


def test_too_long_a_wish_is_an_error_unless_the_policy_clamps() -> None:
    week = timedelta(days=7)
    with pytest.raises(AuthorityError, match="at most 604800 s") as caught:
        issue(Authority(ROOT, IssuingPolicy(longest=week)), seconds=604801)
    assert caught.value.code == "TTL_ERROR"
    assert read(issue(Authority(ROOT, IssuingPolicy(longest=week, clamp=True)), seconds=604801)).not_valid_after_utc == NOW + week
    with pytest.raises(AuthorityError):  # no policy grants more than 90 days
        issue(Authority(ROOT, IssuingPolicy(longest=timedelta(days=900))), seconds=int(LONGEST.total_seconds()) + 1)
    with pytest.raises(AuthorityError):
        issue(seconds=2**62)


def test_no_leaf_outlives_its_root_and_an_expired_root_signs_nothing() -> None:
    short = Authority(new_root("cluster.local", now=NOW, lifetime=timedelta(hours=2)))
    late = NOW + timedelta(hours=1, minutes=30)
    assert read(issue(short, now=late)).not_valid_after_utc == NOW + timedelta(hours=2)
    with pytest.raises(AuthorityError) as caught:
        issue(short, now=NOW + timedelta(hours=2))
    assert caught.value.code == "CA_NOT_READY"


def code_of(csr: str) -> str:
    with pytest.raises(AuthorityError) as caught:
        requested_key(csr)
    return caught.value.code


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> str:
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM).decode()


def test_who_cannot_sign_with_the_key_gets_no_certificate_for_it() -> None:
    mine, theirs = new_key(), new_key()
    my_key, their_key = (
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) for key in (mine, theirs)
    )
    forged = request_of(mine).replace(my_key, their_key)  # my signature over a request for their key
    assert code_of(pem(forged)) == "CSR_ERROR"


def test_weak_and_foreign_kinds_of_key_are_refused() -> None:
    assert code_of(pem(request_of(ed25519.Ed25519PrivateKey.generate()))) == "CSR_ERROR"
    assert code_of(pem(request_of(ec.generate_private_key(ec.SECP256K1())))) == "CSR_ERROR"
    assert code_of(pem(request_of(rsa.generate_private_key(65537, 1024)))) == "CSR_ERROR"
    assert requested_key(pem(request_of(ec.generate_private_key(ec.SECP384R1()))))


@given(st.text(max_size=300))
@settings(max_examples=50)
def test_no_text_crashes_the_reader(text: str) -> None:
    assert code_of(text) == "CSR_ERROR"


GOOD = x509.load_pem_x509_csr(signing_request(new_key())).public_bytes(serialization.Encoding.DER)


@given(position=st.integers(0, 179), change=st.integers(1, 255))
@settings(max_examples=100)
def test_no_damaged_request_is_accepted_or_crashes(position: int, change: int) -> None:
    body = bytearray(GOOD)
    body[position] ^= change
    text = base64.b64encode(bytes(body)).decode()
    assert code_of(f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n") == "CSR_ERROR"


def test_an_oversized_request_is_not_even_parsed() -> None:
    assert code_of(signing_request(new_key()).decode() + "x" * 20_000) == "CSR_ERROR"


def test_a_root_reads_back_and_belongs_to_its_key() -> None:
    again = Root.of_pem(ROOT.certificate_pem, ROOT.key_pem)
    assert again.fingerprint == ROOT.fingerprint
    other = new_root("cluster.local", now=NOW)
    assert other.certificate.subject != ROOT.certificate.subject
    for certificate, key in ((ROOT.certificate_pem, other.key_pem), (issue().certificate_pem, ROOT.key_pem), (b"", b"")):
        with pytest.raises(AuthorityError) as caught:
            Root.of_pem(certificate, key)
        assert caught.value.code == "CA_NOT_READY"


def test_serials_and_keys_differ() -> None:
    issued = [issue() for _ in range(20)]
    assert len({one.serial for one in issued}) == 20
    assert len({one.key_hash for one in issued}) == 20
