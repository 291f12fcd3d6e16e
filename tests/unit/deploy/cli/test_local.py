# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the first moments of a launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def is_blocked(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(mask >> (signal.SIGINT - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_early_ctrl_c_is_taken_when_the_launcher_is_ready_for_it(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text("name: early\nmode: none\n")
    command = [sys.executable, "-m", "deploy.cli.main", "up", str(mesh), "--state-dir", str(tmp_path / "state")]
    environment = {**os.environ, "FOURMAST_RUNTIME_DIR": str(tmp_path / "runtime")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as launcher:
        while not is_blocked(launcher.pid):
            assert launcher.poll() is None
            time.sleep(0.005)
        launcher.send_signal(signal.SIGINT)
        said = launcher.communicate(timeout=30)[1]
    assert launcher.returncode == 0
    assert said.endswith("stopped; nothing is left running\n")
    assert "Traceback" not in said
