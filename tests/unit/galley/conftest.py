# SPDX-License-Identifier: Apache-2.0
"""One Galley for many tests; those that restart or break one start their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running_galley import RunningGalley, running_galley


@pytest.fixture(scope="session")
async def shared_galley(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGalley]:
    async with running_galley(tmp_path_factory.mktemp("galley")) as running:
        yield running


@pytest.fixture
async def galley(shared_galley: RunningGalley) -> AsyncIterator[RunningGalley]:
    """A Galley without objects; its revisions go on from test to test."""
    yield shared_galley
    await shared_galley.wipe()


@pytest.fixture
async def fresh_galley(tmp_path: Path) -> AsyncIterator[RunningGalley]:
    """A Galley that knows nothing at all."""
    async with running_galley(tmp_path / "state") as running:
        yield running
