# SPDX-License-Identifier: Apache-2.0
"""The version of the proxy before each registered workload; empty for those that registered before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("workloads", sa.Column("proxy_version", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("workloads", "proxy_version")
