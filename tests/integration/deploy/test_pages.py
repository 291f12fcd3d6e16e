# SPDX-License-Identifier: Apache-2.0
"""Pages that need no more than one small mesh on loopback, followed as written."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Reader

TASKS = Path(__file__).parents[3] / "docs" / "tasks"


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Someone in a folder whose path is short enough for Unix sockets, who means the mesh of this folder even if another one runs."""
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        environment = {"FOURMAST_KUBECONFIG": f"{folder}/mesh/kubeconfig"}
        reader = Reader(Path(folder), {"you": str(Path(sys.executable).parent)}, environment)
        yield reader
        reader.close()


def test_find_mistakes(reader: Reader) -> None:
    assert reader.follow(TASKS / "find-mistakes.md") > 8
