# SPDX-License-Identifier: Apache-2.0
"""Citadel's own certificate: it issues it to itself, records it like any other and renews it at half-life."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from citadel.authority.issuing import Authority
from citadel.store import certificates
from common.database import Writer
from common.identity.certificates import half_life, key_pem, new_key
from common.identity.material import Jwks, KeyMaterial, WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS

log = structlog.get_logger("ca")


async def own_material(authority: Authority, store: Writer, trust_domain: str) -> KeyMaterial:
    """A new key with a new certificate. It never rests on disk: a restarted Citadel makes another."""
    key, now = new_key(), datetime.now(UTC)
    issued = authority.issue(key.public_key(), SpiffeId.of(trust_domain, ROOT_NAMESPACE, SERVICE_ACCOUNTS["citadel"]), now=now)
    await store.transaction(
        lambda connection: certificates.record(
            connection,
            issued,
            label_bounds={},
            authenticator="self",
            credential="",
            peer="",
            root=authority.root.fingerprint,
            now=now,
        )
    )
    return KeyMaterial.of(certificate_chain_pem=issued.certificate_pem, private_key_pem=key_pem(key), roots_pem=authority.bundle_pem)


async def own_identity(authority: Authority, store: Writer, trust_domain: str, jwks: Jwks) -> WorkloadIdentity:
    return WorkloadIdentity(await own_material(authority, store, trust_domain), jwks)


async def keep_renewed(identity: WorkloadIdentity, authority: Authority, store: Writer) -> None:
    """Renew at half-life, for ever."""
    while True:
        current = identity.current
        wait = (half_life(current.not_before, current.not_after) - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(wait, 0.5))
        identity.replace(await own_material(authority, store, current.spiffe_id.trust_domain))
        log.info("own certificate renewed", not_after=identity.current.not_after.isoformat())
