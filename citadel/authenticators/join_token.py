# SPDX-License-Identifier: Apache-2.0
"""Join tokens: how a workload without a certificate gets its first one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from citadel.authenticators.contract import Evidence, Proven
from citadel.store import tokens
from common.database import Writer
from common.identity.spiffe import SpiffeId


class JoinTokens:
    """Namespace, service account and label bounds come from the token's record."""

    name = "join-token"

    def __init__(self, store: Writer, trust_domain: str) -> None:
        self._store = store
        self._trust_domain = trust_domain

    async def prove(self, evidence: Evidence, *, now: datetime) -> Proven | None:
        if not evidence.bearer:
            return None
        grant = await self._store.transaction(lambda c: tokens.check(c, evidence.bearer, now=now))
        return Proven(
            spiffe_id=SpiffeId.of(self._trust_domain, grant.namespace, grant.service_account),
            label_bounds=grant.label_bounds,
            authenticator=self.name,
            credential=grant.token_id,
        )

    def spend(self, connection: Connection, evidence: Evidence, *, key_hash: str, now: datetime) -> None:
        tokens.spend(connection, evidence.bearer, key_hash=key_hash, now=now)
