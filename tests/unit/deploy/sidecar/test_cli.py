# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from deploy.sidecar.cli import main


def test_a_wrong_setting_names_itself_and_its_origin(tmp_path: Path) -> None:
    config = tmp_path / "proxy.yaml"
    config.write_text("concurrency: 0\nlables: {a: b}\n")
    result = CliRunner().invoke(main, ["proxy", "sidecar", "--config", str(config)])
    assert result.exit_code == 1
    assert f"concurrency: Input should be greater than or equal to 1 (file {config})" in result.output
    assert "lables" in result.output


def test_there_are_two_kinds_of_proxy() -> None:
    result = CliRunner().invoke(main, ["proxy", "ingress"])
    assert result.exit_code == 2
    assert "'sidecar', 'router'" in result.output


def test_asking_an_envoy_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["request", "GET", "/stats", "--state-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "GET /stats" in result.output


def test_version_names_both() -> None:
    result = CliRunner().invoke(main, ["version"])
    assert result.exit_code == 0
    assert "Envoy 1.40" in result.output


def test_without_a_join_file_it_says_what_is_missing(tmp_path: Path) -> None:
    arguments = ["proxy", "--state-dir", str(tmp_path / "s"), "--name", "reviews", "--status-address", "127.0.0.1:0"]
    command = [sys.executable, "-m", "deploy.sidecar.cli", *arguments]  # a process of its own: serving sets umask and logging
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert "reviews cannot join the mesh" in result.stderr
