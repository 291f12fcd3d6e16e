# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import psutil

from deploy.local.enter import blocked
from deploy.local.processes import Place, Process

HERE = Place(environment={"PATH": "/usr/bin:/bin", "WORD": "hello"})


def script(text: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text]


async def lines(process: Process, count: int) -> list[str]:
    async with asyncio.timeout(5):
        while len(found := process.last_lines().splitlines()) < count:
            await asyncio.sleep(0.01)
    return found


async def test_it_runs_with_the_environment_of_its_place_only(tmp_path: Path) -> None:
    process = Process("env", script("import os; print(sorted(os.environ.items()))"), HERE, tmp_path / "log")
    await process.start()
    assert await process.wait() == 0
    assert "('WORD', 'hello')" in process.last_lines()
    assert "HOME" not in process.last_lines()


async def test_stopping_is_a_request_first_and_then_an_order(tmp_path: Path) -> None:
    polite = Process(
        "polite",
        script("import signal, sys; signal.signal(15, lambda *_: sys.exit(3)); print('up', flush=True); signal.pause()"),
        HERE,
        tmp_path / "a",
    )
    deaf = Process(
        "deaf",
        script("import signal\nsignal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"),
        HERE,
        tmp_path / "b",
    )
    for process in (polite, deaf):
        await process.start()
        await lines(process, 1)
    await polite.stop()
    assert polite.exit_code == 3
    await deaf.stop(grace=0.2)
    assert deaf.exit_code == -9
    await deaf.start()
    await lines(deaf, 2)
    assert deaf.pid is not None, "it can be started again"
    await deaf.kill()


async def test_killing_ends_what_it_started_as_well(tmp_path: Path) -> None:
    text = "import subprocess; print(subprocess.Popen(['/bin/sleep', '60']).pid, flush=True); import time; time.sleep(60)"
    process = Process("parent", script(text), HERE, tmp_path / "log")
    await process.start()
    child = psutil.Process(int((await lines(process, 1))[0]))
    await process.kill()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


async def test_a_command_that_is_not_there_says_so_in_its_log(tmp_path: Path) -> None:
    process = Process("typo", ["no-such-program"], HERE, tmp_path / "log")
    await process.start()
    assert await process.wait() == 1
    assert "no-such-program: No such file or directory" in process.last_lines()


async def test_nothing_of_the_launcher_can_be_regained(tmp_path: Path) -> None:
    process = Process(
        "privileges", script("print([l for l in open('/proc/self/status') if l.startswith('NoNewPrivs')])"), HERE, tmp_path / "log"
    )
    await process.start()
    await process.wait()
    assert "NoNewPrivs:\\t1" in process.last_lines()


def test_a_closed_folder_above_is_found() -> None:
    stranger = os.getuid() + 12345
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folder is closed already
        top = Path(name)
        inner = top / "open" / "file"
        inner.parent.mkdir()
        inner.parent.chmod(0o755)
        top.chmod(0o755)
        assert blocked(str(inner), stranger) is None
        top.chmod(0o700)
        assert blocked(str(inner), stranger) == name
        assert blocked(str(inner), os.getuid()) is None
