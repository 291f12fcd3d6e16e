# SPDX-License-Identifier: Apache-2.0
"""Resources, revisions, reports, workload leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "resources",
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
    )
    op.create_table(
        "revisions",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("collection", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
    )
    op.create_index("revisions_by_resource", "revisions", ["collection", "namespace", "name", "revision"])
    op.create_table(
        "reports",
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("type", sa.String, primary_key=True),
        sa.Column("reporter", sa.String, primary_key=True),
        sa.Column("resource_version", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "workloads",
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("service_account", sa.String, nullable=False),
        sa.Column("lease", sa.String, nullable=False),
        sa.Column("healthy", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("registered_at", sa.String, nullable=False),
    )
    op.create_table(
        "starts",
        sa.Column("start", sa.Integer, primary_key=True),
        sa.Column("at", sa.String, nullable=False),
    )


def downgrade() -> None:
    for table in ("starts", "workloads", "reports", "revisions", "resources"):
        op.drop_table(table)
