# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder with a path short enough for Unix sockets, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="fm-", dir="/tmp") as folder:
        yield Path(folder)
