# SPDX-License-Identifier: Apache-2.0
"""The command line as a user runs it, against a real Galley on loopback where a mesh is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.identity.kubeconfig import write_kubeconfig
from deploy.cli.errors import CliError
from deploy.cli.main import fourmast
from tests.running_galley import RunningGalley, api_token, authority, running_galley


@dataclass(frozen=True)
class Ran:
    """What a command did. `err` is what went to standard error, with the sentence of a CliError."""

    code: int
    out: str
    err: str


def run(*arguments: str, stdin: str = "") -> Ran:
    """Run in this process; errors end as `main` would end them."""
    result = CliRunner().invoke(fourmast, arguments, input=stdin)
    if isinstance(result.exception, CliError):
        return Ran(result.exception.exit_code, result.stdout, result.stderr + f"fourmast: {result.exception}\n")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(autouse=True)
def nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mesh or kubeconfig of the machine is found."""
    monkeypatch.delenv("FOURMAST_KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FOURMAST_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def fourmast_run() -> Callable[..., Ran]:
    return run


@pytest.fixture(scope="session")
async def one_galley(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGalley]:
    async with running_galley(tmp_path_factory.mktemp("galley")) as running:
        yield running


Fourmast = Callable[..., Awaitable[Ran]]


@pytest.fixture
async def mesh(one_galley: RunningGalley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fourmast]:
    """`await mesh("get", "vs")`: the command beside a Galley that answers, with an administrator's kubeconfig."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.bundle_pem)
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, name="test", galley=one_galley.addresses["rest"], roots=roots, token=api_token())
    monkeypatch.setenv("FOURMAST_KUBECONFIG", str(kubeconfig))

    async def invoke(*arguments: str, stdin: str = "") -> Ran:
        return await asyncio.to_thread(run, *arguments, stdin=stdin)

    yield invoke
    await one_galley.wipe()
