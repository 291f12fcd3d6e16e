# SPDX-License-Identifier: Apache-2.0
"""Galley as a whole: its command, its start and what it refuses to start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from common.lifecycle.host import StartError
from common.telemetry.metrics import process_registry
from galley.cli import main
from tests.running_galley import RunningGalley, running_galley, service


def test_the_settings_can_be_looked_at_without_starting(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["config", "check", f"--state-dir={tmp_path}", "--when-locked=wait"])
    assert result.exit_code == 0, result.output
    assert "when_locked = wait  (flag --when-locked)" in result.output
    assert "mcp_address = 127.0.0.1:9901  (default)" in result.output
    assert CliRunner().invoke(main, ["config", "check", "--when-locked=perhaps"]).exit_code == 1


async def test_a_taken_port_is_said_and_the_database_is_left(tmp_path: Path) -> None:
    async with running_galley(tmp_path / "one", webhook_address="127.0.0.1:0") as one:
        for listener in ("rest", "webhook", "registration", "mcp"):
            taken: dict[str, Any] = {f"{listener}_address": one.addresses[listener]}
            with pytest.raises(StartError, match="cannot listen on"):
                async with running_galley(tmp_path / "two", **taken):
                    pass
    async with running_galley(tmp_path / "two"):
        pass


async def test_without_an_mcp_address_nobody_is_served(tmp_path: Path) -> None:
    async with running_galley(tmp_path, mcp_address="") as galley:
        assert set(galley.addresses) == {"rest", "registration"}


async def test_a_galley_that_stands_by_says_so_and_writes_nothing(tmp_path: Path) -> None:
    async with running_galley(tmp_path) as first:
        async with running_galley(tmp_path, when_locked="wait") as second, second.rest() as client:
            assert second.life.reason is not None
            assert "stands by" in second.life.reason
            assert (await client.get("/readyz")).status_code == 503
            answer = await client.post("/apis/fourmast.io/v1/batch", json={"items": [{"document": service()}]})
            assert (answer.status_code, answer.headers["retry-after"], answer.json()["details"]["retryAfterSeconds"]) == (503, "1", 1)
        async with first.rest() as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/apis/fourmast.io/v1/revisions")).json()["items"] == []


async def test_metrics_have_istios_names(galley: RunningGalley) -> None:
    await galley.apply(service())
    text = process_registry.text().decode()
    for name in (
        'galley_runtime_state_type_instances_total{collection="k8s/core/v1/services"} 1',
        'galley_validation_passed{group="",version="v1",resource="Service"}',
        "galley_runtime_processor_snapshots_published_total",
        "istio_mcp_request_acks_total",
    ):
        assert name in text, name
