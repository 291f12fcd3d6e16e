# SPDX-License-Identifier: Apache-2.0
"""The tables, as the newest migration leaves them.

Times are seconds since 1970 in UTC. Of a token's secret only the SHA-256 is kept; it is 256 random bits, so no salt is needed.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

roots = Table(
    "roots",
    metadata,
    Column("fingerprint", String, primary_key=True),
    Column("certificate_pem", LargeBinary, nullable=False),
    Column("key_pem", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # active: signs; trusted: in the bundle only; retired: neither
    Column("created_at", Float, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key_pem", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("service_account", String, nullable=False),
    Column("label_bounds", JSON, nullable=False),
    Column("uses", Integer, nullable=False),  # 0: any number until it expires
    Column("used", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("last_key_hash", String, nullable=False),
    Column("last_used_at", Float, nullable=False),
    Column("revoked_at", Float),
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", String, primary_key=True),
    Column("spiffe_id", String, nullable=False),
    Column("key_hash", String, nullable=False),
    Column("label_bounds", JSON, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("authenticator", String, nullable=False),
    Column("credential", String, nullable=False),  # id of the token, or serial of the certificate, by which it was had
    Column("peer", String, nullable=False),
    Column("root", String, nullable=False),
    Column("revoked_at", Float),
    Index("certificates_by_identity", "spiffe_id", "issued_at"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # serial, spiffe_id or token
    Column("subject", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("revoked_by", String, nullable=False),
    Column("revoked_at", Float, nullable=False),
)
