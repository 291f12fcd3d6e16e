# SPDX-License-Identifier: Apache-2.0
"""Alembic revisions of citadel.db."""
