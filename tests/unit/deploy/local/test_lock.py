# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.lock import MeshRunning, loopback_slot, mesh_lock, running, runtime_folder


@pytest.fixture(autouse=True)
def own_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    monkeypatch.setenv("FOURMAST_RUNTIME_DIR", str(folder))
    return folder


def test_a_second_mesh_of_the_name_is_told_what_is_in_the_way(tmp_path: Path) -> None:
    with mesh_lock("shop", tmp_path):
        with pytest.raises(MeshRunning) as caught, mesh_lock("shop", tmp_path / "other"):
            pass
        message = str(caught.value)
        assert f"process {os.getpid()}" in message
        assert str(tmp_path) in message
        assert "fourmast down shop" in message
        with mesh_lock("other", tmp_path):
            assert [mesh["name"] for mesh in running()] == ["other", "shop"]
    assert running() == []
    with mesh_lock("shop", tmp_path):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from deploy.local.lock import mesh_lock\n"
        "with mesh_lock('shop', Path('.')):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert [mesh["pid"] for mesh in running()] == [holder.pid]
    holder.kill()
    holder.wait()
    assert running() == []
    with mesh_lock("shop", tmp_path):
        pass


def test_meshes_without_namespaces_get_ranges_of_their_own() -> None:
    with loopback_slot() as first:
        with loopback_slot() as second:
            assert first != second
        with loopback_slot() as third:
            assert third == second, "a free range is used again"


def test_another_users_folder_is_not_trusted(own_runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_folder()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        runtime_folder()
