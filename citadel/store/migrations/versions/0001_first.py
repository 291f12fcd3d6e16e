# SPDX-License-Identifier: Apache-2.0
"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "roots",
        sa.Column("fingerprint", sa.String, primary_key=True),
        sa.Column("certificate_pem", sa.LargeBinary, nullable=False),
        sa.Column("key_pem", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key_pem", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("secret_hash", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("service_account", sa.String, nullable=False),
        sa.Column("label_bounds", sa.JSON, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("last_key_hash", sa.String, nullable=False),
        sa.Column("last_used_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String, primary_key=True),
        sa.Column("spiffe_id", sa.String, nullable=False),
        sa.Column("key_hash", sa.String, nullable=False),
        sa.Column("label_bounds", sa.JSON, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("not_after", sa.Float, nullable=False),
        sa.Column("issued_at", sa.Float, nullable=False),
        sa.Column("authenticator", sa.String, nullable=False),
        sa.Column("credential", sa.String, nullable=False),
        sa.Column("peer", sa.String, nullable=False),
        sa.Column("root", sa.String, nullable=False),
        sa.Column("revoked_at", sa.Float),
    )
    op.create_index("certificates_by_identity", "certificates", ["spiffe_id", "issued_at"])
    op.create_table(
        "revocations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("revoked_by", sa.String, nullable=False),
        sa.Column("revoked_at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("go back by restoring a copy of citadel.db")
