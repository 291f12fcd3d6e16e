# SPDX-License-Identifier: Apache-2.0
"""Who may look into a part and who may change it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from common.controlz.monitoring import monitoring_app
from common.controlz.pages import controlz_app
from common.identity.tokens import ALGORITHM, AUDIENCE, ISSUER
from common.lifecycle import Life
from common.lifecycle.settings import Effective, PartSettings, load
from common.telemetry.logging import scopes


class Settings(PartSettings):
    pass


class TokenSigner:
    """Signs as Citadel does, with a key of its own."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "test"})

    def jwks(self) -> object:
        return KeySet([self.key]).as_dict(private=False)

    def sign(self, *, name: str, role: str, lifetime: int) -> str:
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "role": role, "exp": int(time.time()) + lifetime}
        return jwt.encode({"alg": ALGORITHM, "kid": "test"}, claims, self.key)


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner()


@pytest.fixture
def client(tmp_path: Path, signer: TokenSigner) -> Iterator[httpx.AsyncClient]:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps(signer.jwks()))
    found: Effective = load(Settings, prefix="X_", flags={"trust_domain": "td<script>"}, config=None, environment={})
    life = Life("galley")
    life.shows("sinks", lambda: [{"sink": "pilot"}])
    app = controlz_app("galley", found, {"galley": life}, jwks_file=jwks)
    yield httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:9876")


def bearer(signer: TokenSigner, role: str) -> dict[str, str]:
    return {"authorization": f"Bearer {signer.sign(name='someone', role=role, lifetime=60)}"}


TOPICS = ("components", "version", "settings", "scopes", "memory", "tasks", "spans", "sinks")


@pytest.mark.parametrize("topic", TOPICS)
async def test_a_topic_needs_a_token_and_then_answers_as_page_and_json(client: httpx.AsyncClient, signer: TokenSigner, topic: str) -> None:
    assert (await client.get(f"/{topic}")).status_code == 401
    assert (await client.get(f"/api/{topic}")).status_code == 401
    page = await client.get(f"/{topic}", headers=bearer(signer, "viewer"))
    assert page.status_code == 200
    assert "<title>galley" in page.text
    assert isinstance((await client.get(f"/api/{topic}", headers=bearer(signer, "viewer"))).json(), list)


async def test_values_are_escaped(client: httpx.AsyncClient, signer: TokenSigner) -> None:
    page = (await client.get("/settings", headers=bearer(signer, "viewer"))).text
    assert "td&lt;script&gt;" in page
    assert "td<script>" not in page


async def test_another_host_header_is_refused(client: httpx.AsyncClient, signer: TokenSigner) -> None:
    headers = {**bearer(signer, "admin"), "host": "evil.example:9876"}
    assert (await client.get("/version", headers=headers)).status_code == 421


async def test_changing_a_scope_takes_the_admin_role_and_our_own_origin(client: httpx.AsyncClient, signer: TokenSigner) -> None:
    form = {"scope": "controlz-test", "level": "debug"}
    assert (await client.post("/scopes", data=form)).status_code == 401
    assert (await client.post("/scopes", data=form, headers=bearer(signer, "viewer"))).status_code == 403
    foreign = {**bearer(signer, "admin"), "origin": "http://evil.example"}
    assert (await client.post("/scopes", data=form, headers=foreign)).status_code == 403
    assert "controlz-test" not in scopes.levels()
    assert (await client.post("/scopes", data=form, headers=bearer(signer, "admin"))).status_code == 303
    assert scopes.levels()["controlz-test"] == "debug"
    assert (await client.post("/scopes", data={**form, "level": "loud"}, headers=bearer(signer, "admin"))).status_code == 422


async def test_the_login_form_turns_a_token_into_a_cookie(client: httpx.AsyncClient, signer: TokenSigner) -> None:
    assert (await client.get("/")).headers["location"] == "/login"
    assert (await client.post("/login", data={"token": "nonsense"})).status_code == 401
    answer = await client.post("/login", data={"token": signer.sign(name="a", role="viewer", lifetime=60)})
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert (await client.get("/")).status_code == 200


async def test_readiness_is_a_conjunction_that_names_what_is_missing() -> None:
    ready, waiting = Life("pilot"), Life("mixer")
    ready.ready()
    waiting.not_ready("no configuration yet")
    client = httpx.AsyncClient(transport=httpx.ASGITransport(monitoring_app({"pilot": ready, "mixer": waiting})), base_url="http://x")
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["waiting"]) == (503, {"mixer": "no configuration yet"})
    waiting.ready()
    assert (await client.get("/ready")).status_code == 200
    assert (await client.get("/healthz")).status_code == 200
