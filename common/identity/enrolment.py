# SPDX-License-Identifier: Apache-2.0
"""Become a member of the mesh and remain one: key, signing request, certificate, renewal at half-life.

The order of credentials is: the stored certificate while it is valid, then the join file's token. So a crashed process and a rebooted
machine rejoin without anybody's help, and only an identity that lay idle past its expiry needs a new token. The join file is read again
each time it is needed, because a token that was cached at start is stale exactly when it matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from common.identity.certificates import half_life
from common.identity.errors import EnrolmentError
from common.identity.join_file import JoinFile
from common.identity.material import WorkloadIdentity
from common.identity.request import CitadelUnavailable, Issued, renew_certificate, request_certificate
from common.identity.stored import StoredIdentity

log = structlog.get_logger("identity")

FIRST_DELAY, LAST_DELAY = 0.2, 10.0  # seconds between attempts while Citadel is away
JITTER = 0.05  # share of the half-life by which renewals of many workloads are spread
SHORTEST_WAIT = 0.5  # seconds before a renewal: bounds the load of very short-lived certificates


@contextlib.asynccontextmanager
async def enrol(
    *, join_file: Path | None, citadel_address: str, renewal_address: str, state_dir: Path, name: str
) -> AsyncIterator[WorkloadIdentity]:
    """Yield the identity of `name`, renewed in the background until the block is left.

    `citadel_address` and `renewal_address` are `host:port`; what the join file says goes before them. Files are kept 0600 in `state_dir`.
    Waits as long as Citadel cannot be reached; raises EnrolmentError when it refuses.
    """
    member = Member(join_file, citadel_address, renewal_address, StoredIdentity(state_dir, name))
    identity = await member.join()
    renewal = asyncio.create_task(member.keep_renewed(identity), name=f"renew identity of {name}")
    try:
        yield identity
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


class Member:
    """One workload's membership: what `enrol` does, without its task."""

    def __init__(
        self,
        join_file: Path | None,
        citadel_address: str,
        renewal_address: str,
        stored: StoredIdentity,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._join_file = join_file
        self._citadel_address = citadel_address
        self._renewal_address = renewal_address
        self._stored = stored
        self._clock = clock

    async def join(self) -> WorkloadIdentity:
        """The stored identity if it is still good, else a new one by the join file's token."""
        found = self._stored.load()
        if found is not None and not self._superseded(found):
            if found.material.not_after > self._clock():
                log.info(
                    "rejoined with the stored certificate", spiffe_id=str(found.material.spiffe_id), not_after=str(found.material.not_after)
                )
                return WorkloadIdentity(found.material, found.api_keys)
            log.warning("the stored certificate has expired; a join token is needed", not_after=str(found.material.not_after))
        issued = await self._patiently(self._by_token)
        self._stored.save(issued)
        log.info("enrolled", spiffe_id=str(issued.material.spiffe_id), not_after=str(issued.material.not_after))
        return WorkloadIdentity(issued.material, issued.api_keys)

    async def keep_renewed(self, identity: WorkloadIdentity) -> None:
        """Renew at half-life, for ever. A refusal is retried too: an operator may bring a new join file."""
        while True:
            await asyncio.sleep(self.seconds_to_renewal(identity))
            issued = await self._patiently(lambda: self._renew(identity), until_accepted=True)
            self._stored.save(issued)
            identity.replace(issued.material, issued.api_keys)
            log.info(
                "renewed", spiffe_id=str(issued.material.spiffe_id), not_after=str(issued.material.not_after), serial=issued.material.serial
            )

    def seconds_to_renewal(self, identity: WorkloadIdentity) -> float:
        material = identity.current
        middle = half_life(material.not_before, material.not_after)
        spread = (material.not_after - material.not_before).total_seconds() / 2 * JITTER * random.random()  # noqa: S311 - no secret
        return max((middle - self._clock()).total_seconds() - spread, SHORTEST_WAIT)

    def _superseded(self, found: Issued) -> bool:
        """A join file that is newer than the identity and speaks of other roots or another account replaces it."""
        if self._join_file is None or not self._join_file.exists() or not self._stored.older_than(self._join_file):
            return False
        joining = JoinFile.load(self._join_file)
        if joining.spiffe_id is not None and joining.spiffe_id != str(found.material.spiffe_id):
            return True
        return not found.chains_to(joining.roots.encode())

    async def _by_token(self) -> Issued:
        if self._join_file is None:
            raise EnrolmentError("NO_CREDENTIAL", "there is no valid certificate and no join file to get one with")
        joining = JoinFile.load(self._join_file)
        return await request_certificate(
            joining.citadel or self._citadel_address, key=self._stored.pending_key(), token=joining.token, roots_pem=joining.roots.encode()
        )

    async def _renew(self, identity: WorkloadIdentity) -> Issued:
        try:
            if identity.current.not_after <= self._clock():
                raise EnrolmentError("NO_CREDENTIAL", "the certificate expired before it could be renewed")
            return await renew_certificate(self._renewal(), identity=identity, key=self._stored.pending_key())
        except EnrolmentError as error:
            if self._join_file is None or not self._join_file.exists():
                raise
            log.warning("not renewed by certificate; trying the join token", reason=str(error))
            return await self._by_token()

    def _renewal(self) -> str:
        if self._join_file is not None and self._join_file.exists():
            with contextlib.suppress(EnrolmentError):
                return JoinFile.load(self._join_file).renewal or self._renewal_address
        return self._renewal_address

    async def _patiently(self, attempt: Callable[[], Awaitable[Issued]], *, until_accepted: bool = False) -> Issued:
        delay = FIRST_DELAY
        while True:
            try:
                return await attempt()
            except CitadelUnavailable as error:
                log.warning("Citadel cannot be reached; trying again", reason=str(error), delay_seconds=round(delay, 1))
            except EnrolmentError as error:
                if not until_accepted:
                    raise
                log.error("the certificate is not renewed; bring a new join file", reason=str(error), code=error.code)
            await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311 - no secret
            delay = min(delay * 2, LAST_DELAY)
