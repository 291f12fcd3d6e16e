# SPDX-License-Identifier: Apache-2.0
"""What an authenticator is. It knows credentials, not gRPC; and it works in two steps, so that a bad request spends no token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography import x509
from sqlalchemy import Connection

from common.identity.spiffe import SpiffeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a call brings: a bearer token from its metadata, a client certificate that TLS has verified, or neither."""

    bearer: str = field(default="", repr=False)
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Who the caller is, and by what."""

    spiffe_id: SpiffeId
    label_bounds: Mapping[str, str]
    authenticator: str
    credential: str
    """Id of the token, or serial of the certificate: names the credential in records without being one."""


class Authenticator(Protocol):
    """One way to show who one is."""

    async def prove(self, evidence: Evidence, *, now: datetime) -> Proven | None:
        """Who the caller is; None when it brings no credential of this kind. Raises CallerError when the credential is no good."""
        ...

    def spend(self, connection: Connection, evidence: Evidence, *, key_hash: str, now: datetime) -> None:
        """Use the credential up for a certificate with this key, in the transaction that records the certificate.

        Raises CallerError when somebody else was faster.
        """
        ...
