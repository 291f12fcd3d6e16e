# SPDX-License-Identifier: Apache-2.0
"""All of Mixer in one process: configuration comes in by MCP, and every listener answers from it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.checkprotocol.message import PATH, Answer, Question
from common.config.resource import Resource, encode
from common.identity.tls import grpc_channel, ssl_context
from common.lifecycle import Life
from common.mcp.inprocess import InProcessConfigSource
from common.mcp.publisher import Publisher
from common.mcp.snapshot import CollectionState, Entry
from common.mesh.names import control_plane_dns_name
from common.proto.mixer import service_pb2, service_pb2_grpc
from mixer.app import build
from mixer.attributes.compression import compress
from mixer.settings import MixerSettings
from tests.running_citadel import identity_of, new_authority, part_identity
from tests.unit.mixer.resources import denial, handler, instance, load, rule

authority = new_authority()
DENIAL = (
    handler("deny", "denier", denial("Not allowed")),
    instance("nothing", "checknothing"),
    rule("r", 'request.headers["x-user"] == "john"', ("deny", "nothing")),
)


class Galley:
    """Publishes what it is told."""

    def __init__(self) -> None:
        self.publisher = Publisher()
        self._revision = 0

    def publish(self, *resources: Resource[Any]) -> None:
        self._revision += 1
        collections: dict[str, list[Entry]] = {}
        for each in resources:
            entry = Entry(each.key.mcp_name, each.metadata.resourceVersion, encode(each))
            collections.setdefault(each.key.collection, []).append(entry)
        self.publisher.publish({name: CollectionState.of(f"{name}/{self._revision}", entries) for name, entries in collections.items()})


@contextlib.asynccontextmanager
async def running(state_dir: Path, galley: Galley | None) -> AsyncIterator[Life]:
    settings = MixerSettings(
        state_dir=state_dir,
        grpc_address="127.0.0.1:0",
        check_address="127.0.0.1:0",
        metrics_address="127.0.0.1:0",
        galley_address="127.0.0.1:1",
        galley_status_address="",
        config_settle=0.0,
    )
    source = InProcessConfigSource(galley.publisher) if galley else None
    life = Life("mixer")
    task = asyncio.create_task(build(settings, config_source=source, identity=part_identity(authority, "mixer")).run(life))
    try:
        async with asyncio.timeout(10):
            ready = asyncio.create_task(life.until_ready())
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if task.done():
                await task
        yield life
    finally:
        life.stopping.set()
        await asyncio.wait_for(task, 5)


async def ask(life: Life, headers: dict[str, str]) -> Answer:
    """A question of the ratings proxy's Lua filter."""
    question = Question(attributes={"request.headers": headers, "context.reporter.kind": "inbound", "context.protocol": "http"})
    proxy = identity_of(authority, "default", "ratings")
    async with httpx.AsyncClient(verify=ssl_context(proxy, server=False)) as client:
        extensions = {"sni_hostname": control_plane_dns_name("mixer")}
        response = await client.post(f"https://{life.addresses['check']}{PATH}", content=question.encode(), extensions=extensions)
    assert response.status_code == 200
    return Answer.parse(response.content)


async def test_every_listener_answers_from_the_configuration(tmp_path: Path) -> None:
    galley = Galley()
    galley.publish(*DENIAL, *load("deploy/samples/mesh/telemetry.yaml"))
    async with running(tmp_path, galley) as life:
        denied = await ask(life, {"x-user": "john"})
        assert denied.denial is not None
        assert (denied.denial.http_status, denied.denial.message) == (403, "deny.default:Not allowed")
        assert (await ask(life, {})).denial is None

        async with grpc_channel(identity_of(authority, "default", "ratings"), life.addresses["grpc"], part="mixer") as channel:
            stub = service_pb2_grpc.MixerStub(channel)  # type: ignore[no-untyped-call]
            bag = {"context.protocol": "http", "response.code": 200}
            await stub.Report(service_pb2.ReportRequest(attributes=[compress(bag)], global_word_count=222))

        async with httpx.AsyncClient(base_url=f"http://{life.addresses['mesh-metrics']}") as client:
            page = await client.get("/metrics")
            assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert 'istio_requests_total{reporter="destination"' in page.text
            assert (await client.get("/")).status_code == 404
            assert (await client.post("/metrics")).status_code == 405


async def test_a_change_takes_effect_while_requests_flow(tmp_path: Path) -> None:
    galley = Galley()
    galley.publish(*DENIAL)
    async with running(tmp_path, galley) as life:
        assert (await ask(life, {"x-user": "john"})).denial is not None
        galley.publish(*DENIAL[:2])
        async with asyncio.timeout(5):
            while (await ask(life, {"x-user": "john"})).denial is not None:
                await asyncio.sleep(0.01)


async def test_a_restart_without_galley_keeps_the_policy(tmp_path: Path) -> None:
    galley = Galley()
    galley.publish(*DENIAL)
    async with running(tmp_path, galley):
        pass
    async with running(tmp_path, None) as life:
        assert (await ask(life, {"x-user": "john"})).denial is not None


async def test_nobody_is_answered_before_there_is_configuration(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), running(tmp_path, Galley()):
            pytest.fail("ready without configuration")
