# SPDX-License-Identifier: Apache-2.0
"""The files by which everything else finds its way in: trust bundle, public keys, the administrator's token, the parts' join files.

    <state_dir>/roots.pem               the trust bundle
    <state_dir>/jwks.json               public keys for API tokens
    <state_dir>/admin.token             an API token with the role admin
    <state_dir>/join/<part>.json        join files of galley, pilot and mixer

All are 0600 and written anew at each start and every half of their life; tokens of earlier files stay good until they expire, so that a
part which has just read one is not turned away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Connection

from citadel.authority.api_keys import TokenSigner
from citadel.authority.issuing import Authority
from citadel.store import certificates, tokens
from common.database import Writer
from common.identity.join_file import JoinFile
from common.identity.private_file import write_private
from common.identity.spiffe import SpiffeId
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS

log = structlog.get_logger("ca")

ADMIN_LIFETIME = timedelta(days=30)
JOIN_LIFETIME = timedelta(days=1)
REMEMBER = timedelta(days=30)  # how long expired tokens and certificates stay on record


class Welcome:
    """Writes those files for one state directory."""

    def __init__(
        self,
        state_dir: Path,
        *,
        authority: Authority,
        store: Writer,
        signer: TokenSigner,
        trust_domain: str,
        join_file: Callable[[str, str], JoinFile],
    ) -> None:
        self._state_dir = state_dir
        self._authority, self._store, self._signer = authority, store, signer
        self._trust_domain = trust_domain
        self._join_file = join_file

    def write_public(self) -> None:
        write_private(self._state_dir / "roots.pem", self._authority.bundle_pem)
        write_private(self._state_dir / "jwks.json", msgspec.json.encode(self._signer.jwks))

    async def write_credentials(self) -> None:
        """The administrator's token and the parts' join files."""
        now = datetime.now(UTC)
        token = self._signer.sign("admin", "admin", lifetime=ADMIN_LIFETIME, now=now)
        write_private(self._state_dir / "admin.token", token.encode() + b"\n")
        for part, account in SERVICE_ACCOUNTS.items():
            if part != "citadel":
                await self._write_join_file(part, account, now)

    async def keep_fresh(self) -> None:
        """Write credentials again before they expire, and forget what expired long ago; for ever."""
        while True:
            await asyncio.sleep(JOIN_LIFETIME.total_seconds() / 2)
            await self.write_credentials()
            await self._store.transaction(_forget)

    async def _write_join_file(self, part: str, account: str, now: datetime) -> None:
        _, text = await self._store.transaction(
            lambda connection: tokens.create(
                connection,
                namespace=ROOT_NAMESPACE,
                service_account=account,
                label_bounds={},
                uses=0,
                lifetime=JOIN_LIFETIME,
                created_by="citadel",
                now=now,
            )
        )
        spiffe_id = str(SpiffeId.of(self._trust_domain, ROOT_NAMESPACE, account))
        self._join_file(text, spiffe_id).save(self._state_dir / "join" / f"{part}.json")


def _forget(connection: Connection) -> None:
    before = datetime.now(UTC) - REMEMBER
    count = tokens.forget_expired(connection, before=before) + certificates.forget_expired(connection, before=before)
    log.info("old records forgotten", count=count)
