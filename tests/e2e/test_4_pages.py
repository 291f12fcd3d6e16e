# SPDX-License-Identifier: Apache-2.0
"""Tutorial pages that bring their own mesh are followed as they are written. (Starting the split by hand is followed in test_wheels.)"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Reader

ROOT = Path(__file__).parents[2]
PAGES = ("follow-a-change.md", "route-requests.md")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Someone in a checkout whose .venv is on the PATH. Its folder has a short name: paths of Unix sockets below it end at 107 bytes."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    reader = Reader(folder, {"you": str(Path(sys.executable).parent)})
    yield reader
    reader.close()


@pytest.mark.parametrize("page", PAGES)
def test_page(reader: Reader, page: str) -> None:
    assert reader.follow(ROOT / "docs/tasks" / page) > 3
