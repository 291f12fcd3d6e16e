# SPDX-License-Identifier: Apache-2.0
"""The straight line from a call to a certificate: rate, caller, request, token, signature, record, answer.

Its order is the point: nothing is parsed before the caller is known, no token is spent for a request that cannot be signed, and nothing
leaves that is not recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy import Connection

from citadel import metrics
from citadel.api.rate import RateLimiter
from citadel.authenticators.contract import Authenticator, Evidence, Proven
from citadel.authority.issuing import Authority, IssuedCertificate, key_hash
from citadel.authority.requests import requested_key
from citadel.errors import AuthorityError, CallerError, CitadelError, RateError
from citadel.store import certificates
from common.database import Writer

log = structlog.get_logger("ca")

Request = tuple[str, int]
"""A PEM signing request and the validity it asks for, in seconds (0: the default)."""


class Issuance:
    """Issues certificates to callers of one listener."""

    def __init__(
        self,
        authority: Authority,
        store: Writer,
        authenticators: Sequence[Authenticator],
        limiter: RateLimiter,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.authority = authority
        self._store = store
        self._authenticators = tuple(authenticators)
        self._limiter = limiter
        self._clock = clock

    async def issue(self, evidence: Evidence, read: Callable[[], Request], *, peer: str) -> IssuedCertificate:
        """A recorded certificate for the caller; `read` parses its request and is called once the caller is known. Raises CitadelError."""
        metrics.csr_count.add()
        proven: Proven | None = None
        try:
            self._limiter.admit(peer, time.monotonic())
            authenticator, proven = await self._authenticated(evidence)
            return await self._issue(evidence, authenticator, proven, read, peer)
        except CitadelError as error:
            _count(error)
            caller = {"spiffe_id": str(proven.spiffe_id), "credential": proven.credential} if proven else {}
            log.warning("no certificate issued", peer=peer, code=error.code, reason=str(error), **caller)
            raise

    async def _authenticated(self, evidence: Evidence) -> tuple[Authenticator, Proven]:
        for authenticator in self._authenticators:
            proven = await authenticator.prove(evidence, now=self._clock())
            if proven is not None:
                return authenticator, proven
        raise CallerError("NO_CREDENTIAL", "a credential is needed: a join token, or on the renewal port a certificate")

    async def _issue(
        self, evidence: Evidence, authenticator: Authenticator, proven: Proven, read: Callable[[], Request], peer: str
    ) -> IssuedCertificate:
        csr, seconds = read()
        key = requested_key(csr)
        now = self._clock()
        issued = self.authority.issue(key, proven.spiffe_id, validity_seconds=seconds, now=now, label_bounds=proven.label_bounds)

        def commit(connection: Connection) -> None:  # a token is spent exactly when its certificate is on record
            authenticator.spend(connection, evidence, key_hash=key_hash(key), now=now)
            certificates.record(
                connection,
                issued,
                label_bounds=proven.label_bounds,
                authenticator=proven.authenticator,
                credential=proven.credential,
                peer=peer,
                root=self.authority.root.fingerprint,
                now=now,
            )

        await self._store.transaction(commit)
        metrics.issued.add(1, proven.authenticator)
        metrics.validity.observe((issued.not_after - now).total_seconds())
        log.info(
            "issued",
            spiffe_id=str(issued.spiffe_id),
            serial=issued.serial,
            not_after=issued.not_after.isoformat(),
            authenticator=proven.authenticator,
            credential=proven.credential,
            peer=peer,
        )
        return issued


def _count(error: CitadelError) -> None:
    if isinstance(error, CallerError):
        metrics.authentication_failures.add(1, error.code)
    elif isinstance(error, RateError):
        metrics.rate_limited.add()
    elif isinstance(error, AuthorityError) and error.code == "CSR_ERROR":
        metrics.csr_parsing_errors.add()
    else:
        metrics.csr_sign_errors.add(1, error.code)
