# SPDX-License-Identifier: Apache-2.0
"""Join tokens at rest.

A token reads `fmj1.<id>.<secret>`; the store keeps the secret's hash. Spending one is a single transaction. After it was spent, the same
public key may use it again for a short time: Citadel's answer may have been lost, and a single-use token must not lock a workload out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select

from citadel.errors import CallerError, RequestError
from citadel.store.tables import tokens
from common.identity.spiffe import SpiffeId

PREFIX: Final = "fmj1"
LONGEST_TOKEN: Final = 128  # characters
SAME_KEY_AGAIN: Final = timedelta(minutes=10)
LONGEST_LIFE: Final = timedelta(days=366)
_REFUSED: Final = "the join token is not valid: it is wrong, expired, revoked or used up; ask for a new one"


class Grant(NamedTuple):
    """What a valid token allows."""

    token_id: str
    namespace: str
    service_account: str
    label_bounds: Mapping[str, str]


class TokenRow(NamedTuple):
    """A token as administrators see it: everything but the secret."""

    id: str
    namespace: str
    service_account: str
    label_bounds: dict[str, str]
    uses: int
    used: int
    expires_at: float
    created_at: float
    created_by: str
    last_used_at: float
    revoked_at: float | None


_SHOWN = [tokens.c[name] for name in TokenRow._fields]


def create(
    connection: Connection,
    *,
    namespace: str,
    service_account: str,
    label_bounds: Mapping[str, str],
    uses: int,
    lifetime: timedelta,
    created_by: str,
    now: datetime,
) -> tuple[TokenRow, str]:
    """A new token: its row and its text, which is nowhere kept. `uses` 0 means any number until it expires."""
    if not timedelta(0) < lifetime <= LONGEST_LIFE:
        raise RequestError("INVALID", f"a join token lasts more than 0 and at most {LONGEST_LIFE.days} days")
    if uses < 0:
        raise RequestError("INVALID", "uses must be 0 (any number) or more")
    try:
        SpiffeId.of("check.invalid", namespace, service_account)
    except ValueError as error:
        raise RequestError("INVALID", str(error)) from error
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    values: dict[str, Any] = {
        "id": identifier,
        "namespace": namespace,
        "service_account": service_account,
        "label_bounds": dict(label_bounds),
        "uses": uses,
        "used": 0,
        "expires_at": (now + lifetime).timestamp(),
        "created_at": now.timestamp(),
        "created_by": created_by,
        "last_used_at": 0.0,
        "revoked_at": None,
    }
    connection.execute(tokens.insert().values(secret_hash=_hash(secret), last_key_hash="", **values))
    return TokenRow(**values), f"{PREFIX}.{identifier}.{secret}"


def check(connection: Connection, text: str, *, now: datetime) -> Grant:
    """What the token allows, without spending it. Raises CallerError with one and the same text for everything that is wrong."""
    row = _find(connection, text, now)
    return Grant(row.id, row.namespace, row.service_account, row.label_bounds)


def spend(connection: Connection, text: str, *, key_hash: str, now: datetime) -> Grant:
    """As `check`, and count one use, unless the same key comes again. Raises CallerError when no use is left."""
    row = _find(connection, text, now)
    moment = now.timestamp()
    again = hmac.compare_digest(row.last_key_hash, key_hash) and moment - row.last_used_at <= SAME_KEY_AGAIN.total_seconds()
    if not again:
        if row.uses and row.used >= row.uses:
            raise CallerError("TOKEN", _REFUSED)
        connection.execute(
            tokens.update().where(tokens.c.id == row.id).values(used=row.used + 1, last_key_hash=key_hash, last_used_at=moment)
        )
    return Grant(row.id, row.namespace, row.service_account, row.label_bounds)


def listed(connection: Connection) -> list[TokenRow]:
    """Every token, newest first."""
    return [TokenRow(*row) for row in connection.execute(select(*_SHOWN).order_by(tokens.c.created_at.desc()))]


def revoke(connection: Connection, identifier: str, *, now: datetime) -> int:
    """How many tokens this revoked (0 or 1)."""
    found = tokens.c.id == identifier
    return connection.execute(tokens.update().where(found, tokens.c.revoked_at.is_(None)).values(revoked_at=now.timestamp())).rowcount


def revoke_created_by(connection: Connection, created_by: str, *, now: datetime) -> None:
    """Revoke what an earlier run of `created_by` made and never took back."""
    found = tokens.c.created_by == created_by
    connection.execute(tokens.update().where(found, tokens.c.revoked_at.is_(None)).values(revoked_at=now.timestamp()))


def forget_expired(connection: Connection, *, before: datetime) -> int:
    """Delete tokens that expired before a moment; returns how many."""
    return connection.execute(tokens.delete().where(tokens.c.expires_at < before.timestamp())).rowcount


def _find(connection: Connection, text: str, now: datetime) -> Row[Any]:
    prefix, _, rest = text.partition(".")
    identifier, _, secret = rest.partition(".")
    if len(text) > LONGEST_TOKEN or prefix != PREFIX or not secret:
        raise CallerError("TOKEN", _REFUSED)
    row = connection.execute(select(tokens).where(tokens.c.id == identifier).with_for_update()).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_hash, _hash(secret)):
        raise CallerError("TOKEN", _REFUSED)
    if row.revoked_at is not None or row.expires_at <= now.timestamp():
        raise CallerError("TOKEN", _REFUSED)
    return row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
