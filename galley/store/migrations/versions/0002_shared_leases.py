# SPDX-License-Identifier: Apache-2.0
"""Leases that several Galleys share: who holds each, and until when each Galley is known to live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("workloads", sa.Column("holder", sa.Integer, nullable=False, server_default="0"))
    op.add_column("starts", sa.Column("alive_until", sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("starts", "alive_until")
    op.drop_column("workloads", "holder")
