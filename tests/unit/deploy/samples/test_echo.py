# SPDX-License-Identifier: Apache-2.0
"""Echo and tcp-echo as processes, and the sample configurations as Galley reads them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest

from deploy.samples.web import fetch
from galley.validation import validate_files

ROOT = Path(__file__).parents[4]
NET = f"127.78.{os.getpid() % 250 + 1}"


async def listening(host: str, port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise TimeoutError(f"{host}:{port}")


@pytest.fixture(scope="module")
async def echo() -> AsyncIterator[None]:
    one = {"BIND_HOST": f"{NET}.1", "WORKLOAD_NAME": "echo-1", "SERVICE_VERSION": "v2"}
    two = {"BIND_HOST": f"{NET}.2", "FAIL_EVERY": "2"}
    tcp = {"BIND_HOST": f"{NET}.3", "PREFIX": "two"}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", f"deploy.samples.{name}", cwd=ROOT, env=environment)
        for name, environment in (("echo", one), ("echo", two), ("tcp_echo", tcp))
    ]
    await asyncio.gather(listening(f"{NET}.1", 8000), listening(f"{NET}.2", 8000), listening(f"{NET}.3", 9000))
    yield
    for process in processes:
        process.terminate()
    assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 0, 0]


@pytest.mark.usefixtures("echo")
class TestEcho:
    async def test_it_says_what_it_was_asked_and_who_it_is(self) -> None:
        found = (await fetch(f"http://{NET}.1:8000/get?a=1", timeout=5, headers={"x-user": "anna"})).json()
        assert (found["args"], found["headers"]["x-user"], found["version"], found["instance"]) == ({"a": "1"}, "anna", "v2", "echo-1")
        assert (await fetch(f"http://{NET}.1:8000/hello", timeout=5)).body == b"Hello version: v2, instance: echo-1\n"

    @pytest.mark.parametrize("code", [200, 418, 503])
    async def test_it_answers_the_status_it_is_asked_for(self, code: int) -> None:
        assert (await fetch(f"http://{NET}.1:8000/status/{code}", timeout=5)).status == code

    async def test_it_counts_how_many_requests_it_had_at_once(self) -> None:
        answers = await asyncio.gather(*(fetch(f"http://{NET}.1:8000/delay/0.2", timeout=5) for _ in range(3)))
        assert max(answer.json()["most_concurrent"] for answer in answers) == 3
        assert (await fetch(f"http://{NET}.1:8000/get", timeout=5)).json()["concurrency"] == 1

    async def test_it_fails_on_every_second_request_when_told_to(self) -> None:
        codes = [(await fetch(f"http://{NET}.2:8000/get", timeout=5)).status for _ in range(4)]
        assert codes == [200, 503, 200, 503]
        assert (await fetch(f"http://{NET}.2:8000/health", timeout=5)).status == 200

    async def test_tcp_echo_prefixes_every_line(self) -> None:
        reader, writer = await asyncio.open_connection(f"{NET}.3", 9000)
        writer.write(b"hello\nworld\n")
        assert [await reader.readline(), await reader.readline()] == [b"two hello\n", b"two world\n"]
        writer.close()


def sample_files() -> list[str]:
    samples = Path(str(resources.files("deploy.samples")))
    return sorted(str(path.relative_to(samples)) for path in samples.rglob("config/**/*.yaml"))


@pytest.mark.parametrize("name", [name for name in sample_files() if "broken" not in name])
def test_every_sample_configuration_is_accepted(name: str) -> None:
    content = resources.files("deploy.samples").joinpath(name).read_bytes()
    results = validate_files([(name, content)], lenient=False, default_namespace="default")
    assert results
    assert [(result.name, result.problems) for result in results if not result.is_valid] == []


def test_the_broken_sample_is_refused() -> None:
    (name,) = [name for name in sample_files() if "broken" in name]
    content = resources.files("deploy.samples").joinpath(name).read_bytes()
    assert any(not result.is_valid for result in validate_files([(name, content)], lenient=False, default_namespace="default"))
