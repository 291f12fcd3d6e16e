# SPDX-License-Identifier: Apache-2.0
"""The errors of this part. Codes are stable; Istio 1.4's where it has one. gRPC and HTTP status are chosen at the edge only.

CitadelError
├── AuthorityError       nothing is signed: CSR_ERROR, TTL_ERROR, CA_NOT_READY, CERT_GEN_ERROR
├── CallerError          the credential is not accepted: NO_CREDENTIAL, TOKEN, CERTIFICATE, REVOKED
├── RequestError         an admin request cannot be carried out: NOT_FOUND, INVALID
├── RateError            too many requests: RATE
└── StoreError           citadel.db cannot be used: STORE
"""

from __future__ import annotations


class CitadelError(Exception):
    """`code` is for programs, the text for people; neither ever holds a token or a key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AuthorityError(CitadelError):
    """The authority does not sign this request."""


class CallerError(CitadelError):
    """The caller cannot show who it is. The text given to callers is the same for every wrong token, so that it teaches nothing."""


class RequestError(CitadelError):
    """What an administrator asks for does not exist or makes no sense."""


class RateError(CitadelError):
    """The caller, or all callers together, ask too often."""


class StoreError(CitadelError):
    """The database cannot be used."""
