# SPDX-License-Identifier: Apache-2.0
"""Doors (forwarded ports) and plain questions, over sockets that somebody else opens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from common.lifecycle.host import StartError
from common.lifecycle.http import address_of, bind, split_address
from deploy.local.ask import ask, until
from deploy.local.forward import forwarding

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def plain() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


@contextlib.asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    sock = bind("127.0.0.1:0")
    running = await asyncio.start_server(handler, sock=sock)
    try:
        yield address_of(sock)
    finally:
        running.close()


async def reversing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only when the question has ended: needs half-closed connections to be passed on."""
    writer.write((await reader.read())[::-1])
    writer.close()


async def test_a_door_passes_bytes_and_the_end_of_each_direction() -> None:
    async with server(reversing) as behind, forwarding("127.0.0.1:0", split_address(behind), plain) as door:
        for question in (b"abc", b"x" * 1_000_000):
            reader, writer = await asyncio.open_connection(*split_address(door))
            writer.write(question)
            writer.write_eof()
            assert await reader.read() == question[::-1]
            writer.close()


async def test_nobody_behind_a_door_is_a_closed_connection() -> None:
    gone = bind("127.0.0.1:0")
    target = split_address(address_of(gone))
    gone.close()
    async with forwarding("127.0.0.1:0", target, plain) as door:
        reader, writer = await asyncio.open_connection(*split_address(door))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_closing_a_door_ends_what_went_through_it() -> None:
    async with server(lambda reader, _: reader.read()) as behind:  # type: ignore[arg-type, return-value]
        async with forwarding("127.0.0.1:0", split_address(behind), plain) as door:
            reader, writer = await asyncio.open_connection(*split_address(door))
            writer.write(b"x")
        async with asyncio.timeout(2):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection(*split_address(door))


async def test_a_taken_door_says_so() -> None:
    taken = bind("127.0.0.1:0")
    with pytest.raises(StartError, match=address_of(taken)):
        async with forwarding(address_of(taken), ("127.0.0.1", 1), plain):
            pass
    taken.close()


def answering(answer: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return handler


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore", (200, "ok")),
        (b"HTTP/1.0 503 No\r\n\r\nEnvoy is DRAINING\n", (503, "Envoy is DRAINING\n")),
    ],
)
async def test_a_question_is_a_status_and_a_body(answer: bytes, expected: tuple[int, str]) -> None:
    async with server(answering(answer)) as address:
        assert await ask(address, "/", plain) == expected


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"])
async def test_no_proper_answer_is_an_os_error(answer: bytes) -> None:
    async with server(answering(answer)) as address:
        with pytest.raises(OSError):
            await ask(address, "/", plain)


async def test_silence_is_a_timeout() -> None:
    async with server(lambda _, writer: asyncio.sleep(5)) as address:
        with pytest.raises(TimeoutError):
            await ask(address, "/", plain, timeout=0.05)


async def test_looking_ends_with_the_last_problem_or_none() -> None:
    answers = iter(["first", "second", None])

    async def look() -> str | None:
        return next(answers)

    assert await until(look, timeout=5, every=0) is None

    async def always() -> str | None:
        return "still broken"

    assert await until(always, timeout=0.02, every=0.005) == "still broken"
