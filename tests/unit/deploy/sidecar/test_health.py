# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from common.lifecycle.http import address_of, bind
from deploy.sidecar.health import Health, ask_http, ask_tcp, check_of
from deploy.sidecar.settings import SidecarSettings


@contextlib.asynccontextmanager
async def application(answer: bytes | None) -> AsyncIterator[str]:
    """An application that answers so (None: never); yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await asyncio.sleep(10)
        else:
            writer.write(answer)
        writer.close()

    sock = bind("127.0.0.1:0")
    server = await asyncio.start_server(serve, sock=sock)
    try:
        yield address_of(sock)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("status", "healthy"), [("200 OK", True), ("302 Found", True), ("404 Not Found", False), ("503 Service Unavailable", False)]
)
async def test_http_health_is_the_status(status: str, healthy: bool) -> None:
    async with application(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode()) as address:
        problem = await ask_http(f"http://{address}/health", 2)
    assert (problem is None) == healthy
    if not healthy:
        assert problem == f"http://{address}/health answered {status[:3]}"


async def test_silence_is_unhealthy_within_the_timeout() -> None:
    async with application(None) as address:
        assert await ask_http(f"http://{address}/", 0.1) == f"http://{address}/ did not answer within 0.1 s"


@pytest.mark.parametrize("answer", [b"", b"hello\r\n", b"HTTP/1.1 fine\r\n", b"x" * 100_000])
async def test_something_else_than_http_is_unhealthy(answer: bytes) -> None:
    async with application(answer) as address:
        assert await ask_http(f"http://{address}/", 2) == f"http://{address}/ did not answer in HTTP"


async def test_nobody_listening_is_unhealthy_with_a_reason() -> None:
    async with application(b"") as address:
        assert await ask_tcp(address, 1) is None
    assert "Connect" in (await ask_tcp(address, 1) or "")
    assert (await ask_http(f"http://{address}/", 1) or "").startswith(f"http://{address}/: ")


async def test_every_turn_is_told_once() -> None:
    answers = iter([None, None, "down", "down", None])
    done, turns = asyncio.Event(), []

    async def check() -> str | None:
        try:
            return next(answers)
        except StopIteration:
            done.set()
            await asyncio.sleep(60)
            raise AssertionError from None

    health = Health(check, interval=0)
    assert not health.healthy, "not asked yet"
    watching = asyncio.create_task(health.watch(lambda: turns.append(health.healthy)))
    await asyncio.wait_for(done.wait(), 5)
    watching.cancel()
    assert turns == [True, False, True]


def test_without_a_check_an_application_is_healthy() -> None:
    assert Health(check_of(SidecarSettings()), interval=1).healthy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"health_url": "http://a:1/", "health_tcp": "a:1"}, "set only one of health_url and health_tcp"),
        ({"health_url": "https://a:1/"}, "asked by http://"),
        ({"health_tcp": "nowhere"}, "not of the form host:port"),
        ({"ports": "http=x"}, "port 'http' is not of the form name=number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SidecarSettings(**values)


def test_ports_and_labels_can_be_flags() -> None:
    settings = SidecarSettings(ports="http=9080,tcp=9000", labels="app=a,version=v1")
    assert settings.ports == {"http": 9080, "tcp": 9000}
    assert settings.labels == {"app": "a", "version": "v1"}
