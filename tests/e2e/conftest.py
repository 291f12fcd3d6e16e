# SPDX-License-Identifier: Apache-2.0
"""One mesh for each mode, shared by everything that runs in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Literal

import psutil
import pytest

from deploy.local.demo.world import World
from deploy.local.mesh import LocalMesh
from deploy.local.mesh_file import load


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--control-plane", choices=("split", "istiod"), default="split", help="four processes or one")
    parser.addoption("--interception", choices=("auto", "netns", "none"), default="auto")


ONCE = ("test_row_is_false_without_its_cause", "test_page")
"""What does not depend on the control plane's shape: the split lane has it, every lane only in the full product (FULL=1)."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--control-plane") == "split" or os.environ.get("FULL"):
        return
    again = [item for item in items if getattr(item, "originalname", item.name) in ONCE]
    if again:
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item not in again]


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Literal["split", "istiod"]:
    return "istiod" if request.config.getoption("--control-plane") == "istiod" else "split"


@pytest.fixture(scope="session")
async def mesh(
    request: pytest.FixtureRequest, control_plane: Literal["split", "istiod"], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalMesh]:
    """The demo's mesh, started once."""
    interception = request.config.getoption("--interception")
    if interception == "auto" and os.environ.get("FOURMAST_NO_SKIPS") and os.geteuid() == 0:
        interception = "netns"  # CI must not fall back in silence
    path = resources.files("deploy.samples").joinpath("demo/mesh.yaml")
    assert isinstance(path, Path)
    state = tmp_path_factory.mktemp("mesh")
    async with LocalMesh(load(path), mode=interception, control_plane=control_plane, state_dir=state) as running:
        yield running
    left = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not left, f"the mesh left processes behind: {left}"


@pytest.fixture(scope="session")
async def world(mesh: LocalMesh) -> World:
    world = World(mesh)
    await world.configure(())
    return world
