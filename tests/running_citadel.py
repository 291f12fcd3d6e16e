# SPDX-License-Identifier: Apache-2.0
"""A real Citadel inside a test, and identities without one: `identity_of` signs with a root of the test's own, `running_citadel` serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from citadel.app import build
from citadel.authority.issuing import Authority
from citadel.authority.root import new_root
from citadel.settings import CitadelSettings
from common.identity.certificates import key_pem, new_key
from common.identity.https import https_client
from common.identity.join_file import JoinFile
from common.identity.material import Jwks, KeyMaterial, WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.lifecycle import Life
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS, TRUST_DOMAIN


def new_authority() -> Authority:
    """An authority with a root of its own; nothing is stored or served."""
    return Authority(new_root(TRUST_DOMAIN, now=datetime.now(UTC)))


def material_of(
    authority: Authority, namespace: str, account: str, *, seconds: int = 0, label_bounds: Mapping[str, str] | None = None
) -> KeyMaterial:
    key = new_key()
    spiffe_id = SpiffeId.of(TRUST_DOMAIN, namespace, account)
    issued = authority.issue(key.public_key(), spiffe_id, validity_seconds=seconds, now=datetime.now(UTC), label_bounds=label_bounds)
    return KeyMaterial.of(certificate_chain_pem=issued.certificate_pem, private_key_pem=key_pem(key), roots_pem=authority.bundle_pem)


def identity_of(
    authority: Authority, namespace: str, account: str, *, label_bounds: Mapping[str, str] | None = None, api_keys: Jwks | None = None
) -> WorkloadIdentity:
    """An identity that `authority` signed just now."""
    return WorkloadIdentity(material_of(authority, namespace, account, label_bounds=label_bounds), api_keys)


def part_identity(authority: Authority, part: str) -> WorkloadIdentity:
    """The identity of galley, pilot, citadel or mixer."""
    return identity_of(authority, ROOT_NAMESPACE, SERVICE_ACCOUNTS[part])


@dataclass(frozen=True)
class RunningCitadel:
    """A Citadel that serves."""

    state_dir: Path
    addresses: Mapping[str, str]

    @property
    def admin_token(self) -> str:
        return (self.state_dir / "admin.token").read_text().strip()

    def admin(self, token: str | None = None) -> httpx.AsyncClient:
        """A client of the admin interface; the administrator's unless a token (or "" for none) is given."""
        return https_client(
            self.addresses["admin"],
            part="citadel",
            roots_pem=(self.state_dir / "roots.pem").read_bytes(),
            token=self.admin_token if token is None else token,
        )

    async def join_file(self, path: Path, *, namespace: str = "default", account: str = "sleep", **more: Any) -> Path:
        """Create a token over the admin interface and write its join file."""
        async with self.admin() as client:
            answer = await client.post("/v1/tokens", json={"namespace": namespace, "serviceAccount": account, **more})
        assert answer.status_code == 201, answer.text
        msgspec.convert(answer.json()["joinFile"], JoinFile).save(path)
        return path


@contextlib.asynccontextmanager
async def running_citadel(state_dir: Path, **settings: Any) -> AsyncIterator[RunningCitadel]:
    """Serve on free loopback ports until the block is left."""
    loopback = dict.fromkeys(("csr_address", "renewal_address", "admin_address"), "127.0.0.1:0")
    component = build(CitadelSettings(state_dir=state_dir, **{**loopback, **settings}))
    life = Life("citadel")
    serving = asyncio.create_task(component.run(life))
    ready = asyncio.create_task(life.until_ready())
    await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        await serving
    try:
        yield RunningCitadel(state_dir, life.addresses)
    finally:
        life.stopping.set()
        await asyncio.wait_for(serving, 30)
