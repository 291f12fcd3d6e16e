# SPDX-License-Identifier: Apache-2.0
"""What the documentation says of kubectl, followed as written: the lesson by the newer one, the reference by the older one."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.identity.kubeconfig import write_kubeconfig
from tests.pages import Reader
from tests.running_galley import api_token, authority, running_galley

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a path that is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        yield Path(name)


def reader_with(version: str, folder: Path, **environment: str) -> Reader:
    binary = shutil.which(f"kubectl-{version}")
    if binary is None:
        pytest.skip(f"kubectl-{version} is not installed (make system)")
    (folder / "bin").mkdir()
    (folder / "bin/kubectl").symlink_to(binary)
    return Reader(folder, {"you": f"{folder}/bin:{Path(sys.executable).parent}"}, {"HOME": str(folder), **environment})


@pytest.mark.timeout(120)
def test_the_lesson(folder: Path) -> None:
    reader = reader_with("1.37", folder, FOURMAST_KUBECONFIG=f"{folder}/mesh/kubeconfig")
    try:
        assert reader.follow(DOCS / "tasks/use-kubectl.md") > 10
    finally:
        reader.close()


async def test_the_reference(folder: Path) -> None:
    async with running_galley(folder / "galley") as galley:
        roots, path = folder / "roots.pem", folder / "kubeconfig"
        roots.write_bytes(authority.bundle_pem)
        write_kubeconfig(path, name="mesh", galley=galley.addresses["rest"], roots=roots, token=api_token())
        reader = reader_with("1.20", folder, KUBECONFIG=str(path))
        assert await asyncio.to_thread(reader.follow, DOCS / "reference/kubectl.md") > 10
