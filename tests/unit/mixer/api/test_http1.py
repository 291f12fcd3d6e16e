# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from common.checkprotocol.message import MAX_BODY, PATH, Answer, Question, Status
from common.identity.spiffe import SpiffeId
from common.lifecycle.http import bind
from mixer.api.http1 import serve_fast_check

RATINGS = SpiffeId("cluster.local", "default", "ratings")


class Answering:
    """Denies with the question's epoch as text, when it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.running = self.most = 0

    async def answer(self, question: Question, peer: SpiffeId) -> Answer:
        assert peer == RATINGS
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1
        if question.epoch == "broken":
            raise RuntimeError("broken")
        return Answer(denial=Status(7, "PERMISSION_DENIED", 403, question.epoch))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, body: bytes = b"", *, method: str = "POST", path: str = PATH, length: int | None = None) -> None:
        head = f"{method} {path} HTTP/1.1\r\nhost: mixer\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
        self.writer.write(head.encode() + body)

    def ask(self, text: str) -> None:
        self.send(Question(epoch=text).encode())

    async def receive(self) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection is closed after it."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length), "connection: close" in head

    async def denial(self) -> str:
        status, body, closed = await self.receive()
        assert (status, closed) == (200, False)
        denial = Answer.parse(body).denial
        assert denial is not None
        return denial.message

    async def ended(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def serving(answering: Answering, *, identity: SpiffeId | None = RATINGS, grace: float = 1.0) -> AsyncIterator[Client]:
    async with serve_fast_check(answering.answer, bind("127.0.0.1:0"), tls=None, identify=lambda _: identity, grace=grace) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


async def test_questions_of_one_connection_are_answered_one_after_another() -> None:
    answering = Answering()
    async with serving(answering) as client:
        for text in ("a", "b"):
            client.ask(text)
            assert await client.denial() == text
        for text in ("c", "d", "e"):
            client.ask(text)
        assert [await client.denial() for _ in range(3)] == ["c", "d", "e"]
    assert answering.most == 1


async def test_a_question_may_come_in_pieces() -> None:
    async with serving(Answering()) as client:
        body = Question(epoch="pieces").encode()
        raw = f"POST {PATH} HTTP/1.1\r\nhost: mixer\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        for octet in raw:
            client.writer.write(bytes([octet]))
            await asyncio.sleep(0)
        assert await client.denial() == "pieces"


async def test_a_peer_without_identity_is_cut_off() -> None:
    async with serving(Answering(), identity=None) as client:
        client.ask("a")
        assert await client.ended()


@pytest.mark.parametrize(
    ("method", "path", "length", "status"),
    [("POST", "/other", None, 404), ("GET", PATH, 0, 405), ("POST", PATH, MAX_BODY + 1, 413), ("POST", "/" + "a" * 5000, None, 404)],
)
async def test_what_is_no_question_is_refused_before_its_body(method: str, path: str, length: int | None, status: int) -> None:
    async with serving(Answering()) as client:
        client.send(method=method, path=path, length=length)
        assert (await client.receive())[::2] == (status, True)
        assert await client.ended()


async def test_a_chunked_body_is_counted_too() -> None:
    async with serving(Answering()) as client:
        client.writer.write(f"POST {PATH} HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n{MAX_BODY + 1:x}\r\n".encode())
        client.writer.write(b"x" * (MAX_BODY + 1))
        assert (await client.receive())[0] == 413


@pytest.mark.parametrize("start", [f"POST {PATH} HTTP/1.1\r\nx: ", f"POST {PATH} HTTP/1.1\r\n"])
async def test_a_header_without_end_is_refused(start: str) -> None:
    async with serving(Answering()) as client:
        client.writer.write(start.encode() + b"x" * (2 * MAX_BODY + 1))
        assert (await client.receive())[::2] == (413, True)
        assert await client.ended()


async def test_many_questions_on_one_connection_are_no_long_one() -> None:
    async with serving(Answering()) as client:
        for number in range(5):
            text = f"{number}" * (MAX_BODY // 2)
            client.ask(text)
            assert await client.denial() == text


async def test_no_http_is_refused() -> None:
    async with serving(Answering()) as client:
        client.writer.write(b"\x00\x01\x02\x03\r\n\r\n")
        assert (await client.receive())[::2] == (400, True)


async def test_a_malformed_question_is_refused_and_says_why() -> None:
    async with serving(Answering()) as client:
        client.send(b"Z1:a")
        assert await client.receive() == (400, b"unknown record 'Z' at octet 0", True)


async def test_a_mistake_of_ours_tells_nothing() -> None:
    async with serving(Answering()) as client:
        client.ask("broken")
        assert await client.receive() == (500, b"internal error", True)


async def test_a_stop_lets_an_open_question_be_answered() -> None:
    answering = Answering()
    answering.go.clear()
    listener = serve_fast_check(answering.answer, bind("127.0.0.1:0"), tls=None, identify=lambda _: RATINGS)
    host, _, port = (await listener.__aenter__()).rpartition(":")
    client, idle = [Client(*await asyncio.open_connection(host, int(port))) for _ in range(2)]
    client.ask("late")
    while not answering.running:
        await asyncio.sleep(0.001)
    stop = asyncio.create_task(listener.__aexit__(None, None, None))
    assert await idle.ended()
    answering.go.set()
    status, body, closed = await client.receive()
    assert (status, closed) == (200, True)
    assert b"late" in body
    await stop
    client.writer.close()
    idle.writer.close()


async def test_a_stop_does_not_wait_for_ever() -> None:
    answering = Answering()
    answering.go.clear()
    async with serving(answering, grace=0.05) as client:
        client.ask("never")
        while not answering.running:
            await asyncio.sleep(0.001)
    assert await client.ended()
