# SPDX-License-Identifier: Apache-2.0
"""The same stories over mutual TLS and inside one process: a consumer must not be able to tell the carriers apart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from common.identity.tls import grpc_server_credentials, peer_identity
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.mcp import Change, ConfigSource, Rejected
from common.mcp.client import GrpcConfigSource
from common.mcp.inprocess import InProcessConfigSource
from common.mcp.publisher import Publisher
from common.mcp.server import Context, ResourceSourceServicer
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc
from tests.running_citadel import identity_of, new_authority, part_identity
from tests.unit.common.mcp.worlds import GATEWAYS, VIRTUAL_SERVICES, entry, state

authority = new_authority()
pilot, stranger = part_identity(authority, "pilot"), identity_of(authority, "default", "stranger")


def only_pilot(context: Context) -> str:
    if (peer := peer_identity(context)) != pilot.spiffe_id:
        raise PermissionError(f"{peer} may not subscribe")
    return "pilot"


@contextlib.asynccontextmanager
async def served(publisher: Publisher, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc_server()
    mcp_grpc.add_ResourceSourceServicer_to_server(ResourceSourceServicer(publisher, only_pilot), server)  # type: ignore[no-untyped-call]
    bound = bind_grpc(server, address, grpc_server_credentials(part_identity(authority, "galley")))
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(0)


class Consumer:
    """Runs a source and keeps its changes; `wait_for` waits until a change satisfies a condition."""

    def __init__(self, source: ConfigSource, *collections: str) -> None:
        self.changes: asyncio.Queue[Change] = asyncio.Queue()
        self.reject: str | None = None
        self.stopping = asyncio.Event()
        self._task = asyncio.create_task(
            source.run(node_id="pilot", collections=collections or (VIRTUAL_SERVICES,), on_change=self._take, stopping=self.stopping)
        )

    async def _take(self, change: Change) -> None:
        if self.reject is not None:
            raise Rejected(self.reject)
        await self.changes.put(change)

    async def next(self, *, within: float = 5.0) -> Change:
        return await asyncio.wait_for(self.changes.get(), within)

    async def stop(self) -> None:
        self.stopping.set()
        await asyncio.wait_for(self._task, 5)


@pytest.fixture(params=["grpc", "in process"])
async def carrier(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Publisher, ConfigSource]]:
    publisher = Publisher()
    if request.param == "in process":
        yield publisher, InProcessConfigSource(publisher)
        return
    async with served(publisher) as address:
        yield publisher, GrpcConfigSource(lambda: address, pilot)


async def test_changes_arrive_as_they_are_published(carrier: tuple[Publisher, ConfigSource]) -> None:
    publisher, source = carrier
    consumer = Consumer(source, VIRTUAL_SERVICES, GATEWAYS)
    publisher.publish({VIRTUAL_SERVICES: state(1, entry("a", 1), traceparent="00-aa-bb-01")})
    first = [await consumer.next(), await consumer.next()]
    publisher.publish({VIRTUAL_SERVICES: state(2, entry("b", 2))})
    second = await consumer.next()
    await consumer.stop()

    assert {(c.collection, c.full, len(c.upserts)) for c in first} == {(VIRTUAL_SERVICES, True, 1), (GATEWAYS, True, 0)}
    assert first[0].traceparent == "00-aa-bb-01"
    assert (second.version, [r.name for r in second.upserts], second.removed) == (f"{VIRTUAL_SERVICES}/2", ["b"], ("default/a",))


async def test_a_refused_change_is_a_nack_and_the_next_one_is_offered(carrier: tuple[Publisher, ConfigSource]) -> None:
    publisher, source = carrier
    publisher.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    consumer = Consumer(source)
    await consumer.next()
    consumer.reject = "not that"
    publisher.publish({VIRTUAL_SERVICES: state(2, entry("a", 2))})
    await _until(lambda: any(not e.acked for e in source.sink.journal))  # type: ignore[attr-defined]
    consumer.reject = None
    publisher.publish({VIRTUAL_SERVICES: state(3, entry("a", 2), entry("b", 3))})
    change = await consumer.next()
    await consumer.stop()
    assert [r.name for r in change.upserts] == ["a", "b"]


async def test_a_consumer_that_fails_refuses_and_does_not_end_the_stream(carrier: tuple[Publisher, ConfigSource]) -> None:
    publisher, source = carrier
    publisher.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    calls: list[Change] = []

    async def on_change(change: Change) -> None:
        calls.append(change)
        if len(calls) == 1:
            raise ZeroDivisionError

    stopping = asyncio.Event()
    task = asyncio.create_task(source.run(node_id="pilot", collections=[VIRTUAL_SERVICES], on_change=on_change, stopping=stopping))
    await _until(lambda: len(calls) == 1)
    publisher.publish({VIRTUAL_SERVICES: state(2, entry("a", 2))})
    await _until(lambda: len(calls) == 2)
    stopping.set()
    await asyncio.wait_for(task, 5)
    assert calls[1].full, "nothing was accepted before, so this is a first time again"


async def test_split_and_merged_hand_over_the_same_bytes() -> None:
    publisher = Publisher()
    publisher.publish({VIRTUAL_SERVICES: state(1, *(entry(f"n{i}", 1) for i in range(20)))})
    async with served(publisher) as address:
        consumers = Consumer(GrpcConfigSource(lambda: address, pilot)), Consumer(InProcessConfigSource(publisher))
        split, merged = [await consumer.next() for consumer in consumers]
        for consumer in consumers:
            await consumer.stop()
    assert split.version == merged.version
    assert [(r.key, r.metadata, r.spec) for r in split.upserts] == [(r.key, r.metadata, r.spec) for r in merged.upserts]


async def test_a_lost_source_is_found_again_and_only_the_difference_is_sent() -> None:
    publisher = Publisher()
    publisher.publish({VIRTUAL_SERVICES: state(1, entry("a", 1), entry("b", 1))})
    where = ""
    async with served(publisher) as address:
        where = address
        consumer = Consumer(GrpcConfigSource(lambda: where, pilot))
        await consumer.next()
    publisher.publish({VIRTUAL_SERVICES: state(2, entry("a", 1), entry("b", 2))})
    async with served(publisher) as address:  # on another port: the provider is asked again
        where = address
        change = await consumer.next()
        await consumer.stop()
    assert (change.full, [r.name for r in change.upserts]) == (False, ["b"])


async def test_a_stranger_gets_nothing() -> None:
    publisher = Publisher()
    publisher.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    async with served(publisher) as address:
        good, bad = Consumer(GrpcConfigSource(lambda: address, pilot)), Consumer(GrpcConfigSource(lambda: address, stranger))
        await good.next()
        with pytest.raises(TimeoutError):
            await bad.next(within=0.5)
        assert publisher.peers == ("pilot",)
        await good.stop()
        await bad.stop()


async def test_a_sink_that_never_answers_holds_nobody_up() -> None:
    publisher = Publisher()
    publisher.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    release = asyncio.Event()

    async def never(change: Change) -> None:
        await release.wait()

    stopping = asyncio.Event()
    stuck = asyncio.create_task(
        InProcessConfigSource(publisher).run(node_id="stuck", collections=[VIRTUAL_SERVICES], on_change=never, stopping=stopping)
    )
    consumer = Consumer(InProcessConfigSource(publisher))
    for revision in range(2, 30):
        await consumer.next()
        publisher.publish({VIRTUAL_SERVICES: state(revision, entry("a", revision))})
    stopping.set()
    await asyncio.wait_for(stuck, 5)
    await consumer.stop()
    assert publisher.peers == ()


async def _until(condition: Callable[[], bool], within: float = 5.0) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), within)
