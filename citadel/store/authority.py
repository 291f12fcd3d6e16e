# SPDX-License-Identifier: Apache-2.0
"""Roots and API keys at rest. A new root is made only when the table is positively empty: any other trouble is an error, never a new root."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, select

from citadel.authority.api_keys import new_api_key
from citadel.authority.root import Root, new_root
from citadel.errors import StoreError
from citadel.store.tables import api_keys, roots


@dataclass(frozen=True, slots=True)
class Signing:
    """All that Citadel signs with."""

    root: Root
    other_roots_pem: bytes
    api_keys_pem: tuple[bytes, ...] = field(repr=False)
    """Newest first."""
    made: bool
    """Whether the root was made just now."""


def load_or_make(connection: Connection, *, trust_domain: str, now: datetime) -> Signing:
    """In one transaction, so that a crash in between leaves either nothing or everything."""
    rows = connection.execute(select(roots).order_by(roots.c.created_at.desc())).all()
    if not rows:
        root = new_root(trust_domain, now=now)
        connection.execute(
            roots.insert().values(
                fingerprint=root.fingerprint,
                certificate_pem=root.certificate_pem,
                key_pem=root.key_pem,
                state="active",
                created_at=now.timestamp(),
            )
        )
        others, made = b"", True
    else:
        active = [row for row in rows if row.state == "active"]
        if len(active) != 1:
            raise StoreError("STORE", f"citadel.db holds {len(active)} active roots; exactly one must be active")
        root, made = Root.of_pem(active[0].certificate_pem, active[0].key_pem), False
        others = b"".join(row.certificate_pem for row in rows if row.state == "trusted")
    keys = connection.execute(select(api_keys.c.key_pem).order_by(api_keys.c.id.desc())).scalars().all()
    if not keys:
        keys = [new_api_key()]
        connection.execute(api_keys.insert().values(key_pem=keys[0], created_at=now.timestamp()))
    return Signing(root, others, tuple(keys), made)
