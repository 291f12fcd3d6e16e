# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from citadel.authority.api_keys import TokenSigner, new_api_key
from common.identity.http_auth import Authenticated, authenticated, require
from common.identity.tokens import Caller, Role, TokenVerifier

signer = TokenSigner([new_api_key()])
verifier = TokenVerifier.from_jwks(lambda: signer.jwks)


def bearing(role: Role) -> dict[str, str]:
    return {"authorization": f"Bearer {signer.sign('anna', role, lifetime=timedelta(minutes=1), now=datetime.now(UTC))}"}


def application(*, middleware: bool) -> FastAPI:
    app = FastAPI(dependencies=[] if middleware else [Depends(authenticated(verifier))])
    if middleware:
        app.add_middleware(Authenticated, verifier=verifier, public={"/open"}, largest_body=100)

    @app.get("/open")
    async def opened() -> str:
        return "open"

    @app.post("/things")
    async def things(body: dict[str, Any], caller: Annotated[Caller, Depends(require("editor"))]) -> str:
        return caller.name

    return app


@pytest.fixture(params=[True, False], ids=["middleware", "dependency"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(middleware=request.param))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as found:
        yield found


async def test_roles_open_what_they_include(client: httpx.AsyncClient) -> None:
    assert (await client.post("/things", json={}, headers=bearing("admin"))).json() == "anna"
    assert (await client.post("/things", json={}, headers=bearing("editor"))).status_code == 200
    refused = await client.post("/things", json={}, headers=bearing("viewer"))
    assert refused.status_code == 403
    assert "needs the role editor" in refused.json()["detail"]["message"]


async def test_a_stranger_is_told_how_to_come_in(client: httpx.AsyncClient) -> None:
    refused = await client.post("/things", json={})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.json()["detail"]["code"] == "MISSING"


@pytest.fixture
async def closed() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(middleware=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as found:
        yield found


async def test_nothing_of_a_strangers_body_is_parsed(closed: httpx.AsyncClient) -> None:
    assert (await closed.post("/things", content=b"{{{", headers={"content-type": "application/json"})).status_code == 401
    assert (await closed.post("/things", content=b"{{{", headers=bearing("admin"))).status_code == 422


async def test_only_public_paths_are_open_and_unknown_ones_are_closed_too(closed: httpx.AsyncClient) -> None:
    assert (await closed.get("/open")).status_code == 200
    assert (await closed.get("/open/")).status_code == 401
    assert (await closed.get("/absent")).status_code == 401


async def test_a_large_body_is_refused_before_it_is_read(closed: httpx.AsyncClient) -> None:
    assert (await closed.post("/things", content=b"x" * 101, headers=bearing("admin"))).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 50

    answered = await closed.post("/things", content=endless(), headers=bearing("admin"))
    assert answered.status_code >= 400


async def test_a_role_without_authentication_lets_nobody_in() -> None:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(require("viewer"))])
    async def page() -> str:
        return "forgotten"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/", headers=bearing("admin"))).status_code == 401
