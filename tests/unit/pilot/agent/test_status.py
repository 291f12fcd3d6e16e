# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

import httpx
import pytest

from pilot.agent.status import StatusApp


def client(problem: str | None, quit: asyncio.Event, *, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    async def ask() -> str | None:
        return problem

    app = StatusApp(checks={"/healthz/ready": ask}, quit=quit.set)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app, client=(peer, 1)), base_url="http://sidecar")


async def test_readiness_is_a_status_code_and_a_sentence() -> None:
    async with client(None, asyncio.Event()) as ready, client("Envoy is DRAINING", asyncio.Event()) as draining:
        assert (await ready.get("/healthz/ready")).status_code == 200
        answer = await draining.get("/healthz/ready")
        assert (answer.status_code, answer.text) == (503, "Envoy is DRAINING\n")


@pytest.mark.parametrize(
    ("method", "peer", "expected"), [("POST", "127.0.0.1", 200), ("GET", "127.0.0.1", 405), ("POST", "10.99.0.1", 403)]
)
async def test_only_the_workload_itself_can_end_its_proxy(method: str, peer: str, expected: int) -> None:
    quit = asyncio.Event()
    async with client(None, quit, peer=peer) as http:
        assert (await http.request(method, "/quitquitquit")).status_code == expected
    assert quit.is_set() == (expected == 200)


async def test_other_paths_are_not_found() -> None:
    async with client(None, asyncio.Event()) as http:
        assert (await http.get("/stats")).status_code == 404
