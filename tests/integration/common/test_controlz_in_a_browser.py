# SPDX-License-Identifier: Apache-2.0
"""ControlZ as people see it: a real Chromium logs in, looks around and changes a log level."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from playwright.async_api import Page, async_playwright, expect

from common.controlz.pages import controlz_app
from common.identity.tokens import ALGORITHM, AUDIENCE, ISSUER
from common.lifecycle import Life
from common.lifecycle.http import address_of, bind, serve_http
from common.lifecycle.settings import PartSettings, load
from common.telemetry.logging import scopes

CHROMIUM = shutil.which("chromium")
QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
expect.set_options(timeout=15_000)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `make system` brings it")]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    key = ECKey.generate_key("P-256", {"kid": "test"})
    (tmp_path / "jwks.json").write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "someone", "role": "admin", "exp": int(time.time()) + 60}
    (tmp_path / "token").write_text(jwt.encode({"alg": ALGORITHM, "kid": "test"}, claims, key))
    life = Life("galley")
    life.listening("rest", "127.0.0.1:8001")
    life.ready()
    found = load(PartSettings, prefix="X_", flags={}, config=None, environment={})
    sock = bind("127.0.0.1:0")
    async with serve_http(controlz_app("galley", found, {"galley": life}, jwks_file=tmp_path / "jwks.json"), sock):
        yield f"http://{address_of(sock)}"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *QUIET])
        yield await browser.new_page()
        await browser.close()


async def test_log_in_look_and_change(url: str, page: Page, tmp_path: Path) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    scopes.set("browser-test", "info")
    await page.goto(url)
    await page.get_by_placeholder("API token").fill((tmp_path / "token").read_text())
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_role("cell", name="rest 127.0.0.1:8001")).to_be_visible()
    await page.get_by_role("link", name="settings").click()
    await expect(page.get_by_role("cell", name="trust_domain")).to_be_visible()
    await page.get_by_role("link", name="scopes").click()
    row = page.get_by_role("row").filter(has_text="browser-test")
    await row.get_by_role("combobox").select_option("debug")
    await row.get_by_role("button", name="Set").click()
    await expect(page.get_by_role("row").filter(has_text="browser-test").get_by_role("combobox")).to_have_value("debug")
    assert scopes.levels()["browser-test"] == "debug"
    await page.screenshot(path=tmp_path / "scopes.png")
    assert complaints == []


async def test_a_wrong_token_is_explained(url: str, page: Page) -> None:
    await page.goto(url)
    await page.get_by_placeholder("API token").fill("nonsense")
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_text("well-formed API token")).to_be_visible()
