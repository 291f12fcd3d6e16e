# SPDX-License-Identifier: Apache-2.0
"""Citadel as its own process: it is killed and comes back the same, and it does not start where another one is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from common.identity.enrolment import enrol
from common.identity.join_file import JoinFile
from common.identity.tokens import TokenVerifier

LOOPBACK = [f"--{name}-address=127.0.0.1:0" for name in ("csr", "renewal", "admin", "monitoring")]


class Served(NamedTuple):
    process: asyncio.subprocess.Process
    state_dir: Path

    def address(self, listener: str) -> str:
        found: str = json.loads((self.state_dir / "addresses.json").read_bytes())["citadel"][listener]
        return found


async def run(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "citadel.cli", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode()


@contextlib.asynccontextmanager
async def serving(state_dir: Path, *more: str) -> AsyncIterator[Served]:
    with contextlib.suppress(FileNotFoundError):
        (state_dir / "addresses.json").unlink()
    state_dir.mkdir(exist_ok=True)
    with (state_dir / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "citadel.cli",
            "serve",
            "--state-dir",
            str(state_dir),
            *LOOPBACK,
            "--ctrlz-address=",
            *more,
            stdout=log,
            stderr=log,
        )
    served = Served(process, state_dir)
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError, ValueError, KeyError):
                served.address("admin")
                break
            assert process.returncode is None, (state_dir / "log").read_text()
            await asyncio.sleep(0.05)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def test_a_killed_citadel_comes_back_with_the_same_root_keys_and_tokens(tmp_path: Path) -> None:
    state, out = tmp_path / "citadel", tmp_path / "join.json"
    async with serving(state) as first:
        created = await run(
            "token",
            "create",
            "--namespace=bookinfo",
            "--service-account=ratings",
            "--label=app=ratings",
            f"--out={out}",
            f"--state-dir={state}",
        )
        assert created[0] == 0, created[1]
        assert JoinFile.load(out).token not in created[1]
        addresses = {name: first.address(name) for name in ("csr", "renewal", "admin")}
        admin_token = (state / "admin.token").read_text().strip()
        first.process.send_signal(signal.SIGKILL)
        await first.process.wait()
    again = [f"--{name}-address={address}" for name, address in addresses.items()]
    joining = {"join_file": out, "citadel_address": addresses["csr"], "renewal_address": addresses["renewal"], "state_dir": tmp_path / "w"}
    async with serving(state, *again), enrol(name="ratings", **joining) as identity:  # type: ignore[arg-type]
        assert str(identity.spiffe_id) == "spiffe://cluster.local/ns/bookinfo/sa/ratings"
        assert identity.current.roots_pem == JoinFile.load(out).roots.encode()
        assert TokenVerifier.from_jwks(state / "jwks.json").verify(admin_token).role == "admin"


async def test_a_second_citadel_says_who_is_in_the_way(tmp_path: Path) -> None:
    async with serving(tmp_path / "one") as one:
        arguments = ["serve", *LOOPBACK, "--ctrlz-address="]
        code, said = await run(*arguments, f"--state-dir={one.state_dir}")
        assert code == 1
        assert f"process {one.process.pid}" in said
        code, said = await run(*arguments, f"--state-dir={tmp_path / 'two'}", f"--csr-address={one.address('csr')}")
        assert code == 1
        assert one.address("csr") in said
        assert "Traceback" not in said


async def test_it_ends_when_asked_and_leaves_private_files_only(tmp_path: Path) -> None:
    async with serving(tmp_path / "one") as one:
        pass
    assert one.process.returncode == 0
    for path in one.state_dir.rglob("*"):
        if path.name != "log":  # ours
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["config", "check"]])
async def test_commands_that_need_nothing(tmp_path: Path, arguments: list[str]) -> None:
    before = os.listdir(tmp_path)
    code, said = await run(*arguments)
    assert code == 0, said
    assert os.listdir(tmp_path) == before


async def test_a_bad_setting_is_named_with_its_origin() -> None:
    code, said = await run("config", "check", "--workload-cert-ttl=soon")
    assert code == 1
    assert "workload_cert_ttl" in said
    assert "flag --workload-cert-ttl" in said
