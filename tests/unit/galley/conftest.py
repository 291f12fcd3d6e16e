# SPDX-License-Identifier: Apache-2.0
"""One Galley for many tests; those that restart or break one start their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running_galley import RunningGalley, running_galley


@pytest.fixture
async def galley(tmp_path: Path) -> AsyncIterator[RunningGalley]:
    """A Galley with an empty store."""
    async with running_galley(tmp_path / "state") as running:
        yield running
