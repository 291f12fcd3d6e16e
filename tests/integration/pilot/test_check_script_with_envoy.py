# SPDX-License-Identifier: Apache-2.0
"""Listeners that refer to the check filter's text, sent by Pilot to the real Envoy: with the text in its environment, and without."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script, check_script_digest
from common.mesh.names import TYPE_LISTENER
from pilot.api.discovery import Discovery
from pilot.networking import generator
from pilot.xds.subscription import SyncState
from tests.generated_mesh import resources_of
from tests.integration.pilot.served_envoy import Client, Pilot, envoy, eventually, free_port

MESH = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {accessLogFile: "", enableAutoMtls: false, disablePolicyChecks: false, policyCheckFailOpen: false}
---
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: PORT}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: web-1, namespace: default}
spec: {address: 127.0.0.1, labels: {app: web}}
"""
DENIED = "UNAVAILABLE:"
"""How the filter begins when Mixer, which nobody serves here, cannot be asked. Envoy's own words for an absent application are others."""
HELD = {CHECK_SCRIPT_VARIABLE: check_script()}


@contextlib.asynccontextmanager
async def served(folder: Path, port: int, digest: str, environment: Mapping[str, str]) -> AsyncIterator[Pilot]:
    """A workload's own proxy, bound on `port`, that says it holds the text `digest` and has this environment."""
    async with Pilot("127.0.0.1:0", Discovery(generator, check=True)).running() as pilot:
        pilot.serve(resources_of(MESH.replace("PORT", str(port))))
        await pilot.discovery.until_published()
        own: dict[str, Any] = {"LABELS": {"app": "web"}, "APPLICATION_ADDRESS": "127.0.0.3", "OUTBOUND_BIND_ADDRESS": "127.0.0.2"}
        async with envoy(folder, pilot.address, delta=True, environment=environment, CHECK_SCRIPT=digest, **own):
            yield pilot


def sent(pilot: Pilot, port: int) -> bytes:
    view = pilot.connection.stream.subscriptions[TYPE_LISTENER].view
    frame = view.get(f"127.0.0.1_{port}") if view is not None else None
    assert frame is not None
    return frame.wire.body


@pytest.mark.parametrize("digest", [check_script_digest(), "", "0" * 24])
async def test_the_check_is_enforced_whoever_brings_the_text(tmp_path: Path, digest: str) -> None:
    port = free_port()
    async with served(tmp_path, port, digest, HELD if digest == check_script_digest() else {}) as pilot:
        await eventually(lambda: pilot.asked and pilot.state(TYPE_LISTENER) is SyncState.SYNCED)
        async with httpx.AsyncClient(timeout=15) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/")
        assert (answer.status_code, answer.text[: len(DENIED)]) == (503, DENIED)
        assert (check_script().encode() in sent(pilot, port)) is (digest != check_script_digest())


async def test_without_the_text_that_it_claims_envoy_opens_nothing(tmp_path: Path) -> None:
    """A listener without its check must not come to be."""
    port = free_port()
    async with served(tmp_path, port, check_script_digest(), {}) as pilot:
        await eventually(lambda: pilot.asked and pilot.state(TYPE_LISTENER) is SyncState.REJECTED)
        trouble = pilot.connection.stream.subscriptions[TYPE_LISTENER].trouble
        assert trouble is not None
        assert f"Environment variable doesn't exist: {CHECK_SCRIPT_VARIABLE}" in trouble.held[f"127.0.0.1_{port}"].message
        assert await Client(port).get() == "ConnectError"
