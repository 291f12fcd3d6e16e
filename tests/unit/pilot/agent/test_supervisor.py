# SPDX-License-Identifier: Apache-2.0
"""Supervision of the real Envoy, with a bootstrap that needs no control plane."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest

from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script
from pilot.agent import tether
from pilot.agent.admin import Admin, AdminUnavailable
from pilot.agent.settings import ProxySettings
from pilot.agent.supervisor import FIRST_DELAY, HEALTHY_AFTER, LAST_DELAY, Backoff, Supervisor, command_line, envoy_binary


@contextlib.asynccontextmanager
async def supervised(
    folder: Path, *, drain_seconds: float = 1.0, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[tuple[Supervisor, Admin, asyncio.Event]]:
    settings = ProxySettings(state_dir=folder)
    bootstrap = folder / "bootstrap.json"
    bootstrap.write_text(json.dumps({"admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}}}))
    command = command_line(settings, envoy_binary(settings), bootstrap)
    stopping = asyncio.Event()
    async with Admin(settings.admin_socket) as admin:
        supervisor = Supervisor(
            command, admin=admin, admin_socket=settings.admin_socket, drain_seconds=drain_seconds, environment=environment
        )
        task = asyncio.create_task(supervisor.run(stopping))
        try:
            yield supervisor, admin, stopping
        finally:
            stopping.set()
            await asyncio.wait_for(task, 10)


async def live(admin: Admin) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(AdminUnavailable):
                if await admin.state() == "LIVE":
                    return
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_killed_envoy_is_started_again_and_a_stopped_one_is_gone(short_tmp: Path) -> None:
    async with supervised(short_tmp) as (supervisor, admin, _):
        await live(admin)
        first = supervisor.pid
        assert first is not None
        assert psutil.Process(first).exe().endswith("envoy")
        assert (short_tmp / "admin.sock").stat().st_mode & 0o777 == 0o600
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.starts == 2)
        await live(admin)
        second = supervisor.pid
        assert second not in (None, first)
    assert not psutil.pid_exists(second or 0)
    assert not (short_tmp / "admin.sock").exists()


async def test_envoy_has_the_whole_check_script_whatever_the_agents_own_environment_says(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty text would be a filter that checks nothing."""
    monkeypatch.setenv(CHECK_SCRIPT_VARIABLE, "")
    async with supervised(short_tmp, environment={CHECK_SCRIPT_VARIABLE: check_script()}) as (supervisor, admin, _):
        await live(admin)
        found = psutil.Process(supervisor.pid).environ()
        assert found[CHECK_SCRIPT_VARIABLE] == check_script()
        assert found["PATH"] == os.environ["PATH"]


async def test_it_drains_before_it_stops(short_tmp: Path) -> None:
    loop = asyncio.get_running_loop()
    async with supervised(short_tmp, drain_seconds=5) as (supervisor, admin, stopping):
        await live(admin)
        began = loop.time()
        stopping.set()
        await asyncio.sleep(0.2)
        assert supervisor.pid is not None, "Envoy was stopped at once"
    assert 0.5 <= loop.time() - began < 4, "no open request: it need not use the whole time"


async def test_cancelling_the_supervisor_leaves_no_envoy(short_tmp: Path) -> None:
    settings = ProxySettings(state_dir=short_tmp)
    (short_tmp / "b.json").write_text("{}")
    async with Admin(settings.admin_socket) as admin:
        command = command_line(settings, envoy_binary(settings), short_tmp / "b.json")
        supervisor = Supervisor(command, admin=admin, admin_socket=settings.admin_socket, drain_seconds=5)
        task = asyncio.create_task(supervisor.run(asyncio.Event()))
        await until(lambda: supervisor.pid is not None)
        pid = supervisor.pid
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pid is not None and not psutil.pid_exists(pid)


def test_the_tether_ends_the_child_with_its_parent() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys, time\n"
            f"child = subprocess.Popen([sys.executable, '-I', '-S', {tether.__file__!r}, str(os.getpid()), '/bin/sleep', '60'])\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(60)\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 5
    while child.name() != "sleep" and time.monotonic() < deadline:
        pass
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert alive == []


def test_the_tether_refuses_to_run_without_its_parent() -> None:
    result = subprocess.run([sys.executable, "-I", "-S", tether.__file__, "1", "/bin/true"], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "the parent is gone" in result.stderr


def test_back_off_doubles_to_a_bound_and_forgets_after_a_healthy_run() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(3)] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]
    assert max(backoff.after(1) for _ in range(20)) == LAST_DELAY
    assert backoff.after(HEALTHY_AFTER + 1) == FIRST_DELAY


def test_a_missing_envoy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not an executable Envoy"):
        envoy_binary(ProxySettings(envoy=tmp_path / "envoy"))
