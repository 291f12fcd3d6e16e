# SPDX-License-Identifier: Apache-2.0
"""The record of every issued certificate, and revocation, which here means: it is not renewed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection, and_, select

from citadel.authority.issuing import IssuedCertificate
from citadel.errors import CallerError, RequestError
from citadel.store import tokens
from citadel.store.tables import certificates, revocations

RevocationKind = Literal["serial", "spiffe_id", "token"]


class CertificateRow(NamedTuple):
    """An issued certificate as administrators see it."""

    serial: str
    spiffe_id: str
    key_hash: str
    label_bounds: dict[str, str]
    not_before: float
    not_after: float
    issued_at: float
    authenticator: str
    credential: str
    peer: str
    root: str
    revoked_at: float | None


_SHOWN = [certificates.c[name] for name in CertificateRow._fields]


def record(
    connection: Connection,
    issued: IssuedCertificate,
    *,
    label_bounds: Mapping[str, str],
    authenticator: str,
    credential: str,
    peer: str,
    root: str,
    now: datetime,
) -> None:
    """Write down a certificate before it is handed out."""
    connection.execute(
        certificates.insert().values(
            serial=issued.serial,
            spiffe_id=str(issued.spiffe_id),
            key_hash=issued.key_hash,
            label_bounds=dict(label_bounds),
            not_before=issued.not_before.timestamp(),
            not_after=issued.not_after.timestamp(),
            issued_at=now.timestamp(),
            authenticator=authenticator,
            credential=credential,
            peer=peer,
            root=root,
        )
    )


def renewable(connection: Connection, serial: str) -> CertificateRow:
    """The record of a certificate that may be renewed. Raises CallerError: CERTIFICATE (unknown to this database) or REVOKED."""
    row = connection.execute(select(*_SHOWN).where(certificates.c.serial == serial)).one_or_none()
    if row is None:
        raise CallerError("CERTIFICATE", "the certificate was not issued by this Citadel; join with a token")
    found = CertificateRow(*row)
    if found.revoked_at is not None:
        raise CallerError("REVOKED", "the certificate is revoked and is not renewed; ask for a new join token")
    return found


def listed(
    connection: Connection, *, spiffe_id: str | None = None, valid_at: datetime | None = None, limit: int = 1000
) -> list[CertificateRow]:
    """Issued certificates, newest first; `valid_at` leaves out what had expired by then."""
    wanted = select(*_SHOWN).order_by(certificates.c.issued_at.desc()).limit(limit)
    if spiffe_id is not None:
        wanted = wanted.where(certificates.c.spiffe_id == spiffe_id)
    if valid_at is not None:
        wanted = wanted.where(certificates.c.not_after >= valid_at.timestamp())
    return [CertificateRow(*row) for row in connection.execute(wanted)]


def revoke(connection: Connection, kind: RevocationKind, subject: str, *, reason: str, revoked_by: str, now: datetime) -> int:
    """Revoke one certificate, all of an identity, or a token. Returns how many rows changed; raises RequestError when there is none."""
    if kind == "token":
        changed = tokens.revoke(connection, subject, now=now)
    else:
        column = certificates.c.serial if kind == "serial" else certificates.c.spiffe_id
        found = and_(column == subject, certificates.c.revoked_at.is_(None))
        changed = connection.execute(certificates.update().where(found).values(revoked_at=now.timestamp())).rowcount
    if changed == 0:
        raise RequestError("NOT_FOUND", f"there is nothing to revoke with {kind} {subject!r}")
    connection.execute(
        revocations.insert().values(kind=kind, subject=subject, reason=reason, revoked_by=revoked_by, revoked_at=now.timestamp())
    )
    return changed


def forget_expired(connection: Connection, *, before: datetime) -> int:
    """Delete the records of certificates that expired before a moment; returns how many."""
    return connection.execute(certificates.delete().where(certificates.c.not_after < before.timestamp())).rowcount
