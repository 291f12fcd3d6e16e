# SPDX-License-Identifier: Apache-2.0
"""Alembic revisions of Galley's schema, oldest first. Never edit one that was released; add another."""
