# SPDX-License-Identifier: Apache-2.0
"""Reading a signing request: only its key is taken, and only when the requester shows that it holds the private half."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from citadel.errors import AuthorityError

LARGEST = 16 * 1024  # characters; a request with an RSA 4096 key has 1,700
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def requested_key(csr_pem: str) -> PublicKey:
    """The public key of a PEM PKCS#10 request. Raises AuthorityError(CSR_ERROR).

    Everything else in the request is ignored: names are the server's to give. Istio 1.4 did not check the signature, so that anyone
    could have a certificate for a key that is somebody else's.
    """
    if len(csr_pem) > LARGEST:
        raise AuthorityError("CSR_ERROR", f"the signing request is longer than {LARGEST} characters")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        key = request.public_key()
        proven = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, TypeError, x509.InvalidVersion) as error:
        raise AuthorityError("CSR_ERROR", "this is not a PEM PKCS#10 signing request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise AuthorityError("CSR_ERROR", "the key of a request must be elliptic (P-256, P-384, P-521) or RSA")
    if isinstance(key, rsa.RSAPublicKey) and not 2048 <= key.key_size <= 8192:
        raise AuthorityError("CSR_ERROR", f"an RSA key must have 2048 to 8192 bits, this one has {key.key_size}")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, _CURVES):
        raise AuthorityError("CSR_ERROR", f"the curve {key.curve.name} is not accepted; use P-256")
    if not proven:
        raise AuthorityError("CSR_ERROR", "the request is not signed by the key that it asks a certificate for")
    return key
