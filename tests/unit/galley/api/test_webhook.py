# SPDX-License-Identifier: Apache-2.0
"""The admission webhook: what it answers, and what the manifest sends to it."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from click.testing import CliRunner

from common.config.registry import registry
from common.identity.https import https_client
from common.telemetry.metrics import process_registry
from galley.api.webhook.manifest import manifest
from galley.cli import main
from tests.running_citadel import material_of
from tests.running_galley import RunningGalley, authority, document, galley_identity, running_galley, service, virtual_service

PATHS = ("/admitpilot", "/admitmixer")


def review(wanted: dict[str, Any] | None, *, operation: str = "CREATE", version: str = "v1") -> dict[str, Any]:
    request = {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": operation, "namespace": "default", "object": wanted}
    return {
        "apiVersion": f"admission.k8s.io/{version}",
        "kind": "AdmissionReview",
        "request": {**request, "dryRun": False, "options": None},
    }


def broken() -> dict[str, Any]:
    wanted = virtual_service()
    wanted["spec"]["http"][0]["rout"] = wanted["spec"]["http"][0].pop("route")
    wanted["spec"]["hosts"] = "reviews"
    return wanted


@pytest.fixture(scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGalley]:
    async with running_galley(tmp_path_factory.mktemp("webhook"), webhook_address="127.0.0.1:0") as running:
        yield running


@pytest.fixture
async def client(serving: RunningGalley) -> AsyncIterator[httpx.AsyncClient]:
    """Like the API server: it knows our roots and bears no token."""
    async with https_client(serving.addresses["webhook"], part="galley", roots_pem=authority.bundle_pem, token="") as found:
        yield found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_it_answers_in_the_version_and_for_the_uid_of_the_question(client: httpx.AsyncClient, path: str, version: str) -> None:
    answer = (await client.post(path, json=review(virtual_service(), version=version))).json()
    assert answer == {
        "apiVersion": f"admission.k8s.io/{version}",
        "kind": "AdmissionReview",
        "response": {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": True},
    }


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
async def test_it_says_the_same_as_rest(serving: RunningGalley, client: httpx.AsyncClient, operation: str) -> None:
    answer = (await client.post(PATHS[0], json=review(broken(), operation=operation))).json()["response"]
    async with serving.rest() as rest:
        said = (await rest.post("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices", json=broken())).json()
    assert (answer["allowed"], answer["status"]["code"], answer["status"]["reason"]) == (False, 422, "Invalid")
    assert answer["status"]["details"]["causes"] == said["details"]["causes"]
    assert len(answer["status"]["details"]["causes"]) == 2, "all mistakes at once"
    assert "did you mean 'route'" in answer["status"]["message"]


async def test_nothing_is_stored(serving: RunningGalley, client: httpx.AsyncClient) -> None:
    await client.post(PATHS[0], json=review(virtual_service("asked")))
    async with serving.rest() as rest:
        assert (await rest.get("/apis/networking.istio.io/v1alpha3/virtualservices")).json()["items"] == []


@pytest.mark.parametrize(
    "question",
    [
        review(None, operation="DELETE"),
        review(broken(), operation="CONNECT"),
        review({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}),
        review({"apiVersion": "networking.istio.io/v9", "kind": "VirtualService", "metadata": {"name": "x"}}),
        review({**virtual_service(), "metadata": {"generateName": "reviews-"}}),
        review({**virtual_service(), "status": {"anything": True}}),
    ],
    ids=["delete", "connect", "unknown kind", "unknown version", "generated name", "status"],
)
async def test_what_it_lets_through(client: httpx.AsyncClient, question: dict[str, Any]) -> None:
    assert (await client.post(PATHS[0], json=question)).json()["response"]["allowed"] is True


async def test_who_sent_what_is_not_enforced_is_warned(client: httpx.AsyncClient) -> None:
    spec = {"patterns": [{"httpMethod": "GET", "uriTemplate": "/"}]}
    answer = (await client.post(PATHS[0], json=review(document("HTTPAPISpec", "x", spec, api="config.istio.io/v1alpha2")))).json()[
        "response"
    ]
    assert (answer["allowed"], answer["warnings"]) == (True, ["HTTPAPISpec has no effect, as in Istio 1.4"])


async def test_who_sent_an_unknown_kind_is_warned(client: httpx.AsyncClient) -> None:
    wanted = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualServise", "metadata": {"name": "x"}}
    (warning,) = (await client.post(PATHS[0], json=review(wanted))).json()["response"]["warnings"]
    assert "did you mean 'VirtualService'" in warning


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"x" * (8 * 1024 * 1024 + 1), "application/json", 413),
    ],
    ids=["empty", "text", "none", "large"],
)
async def test_requests_that_are_none(client: httpx.AsyncClient, content: bytes, media_type: str, status: int) -> None:
    before = counted("galley_validation_http_error", status=str(status))
    answer = await client.post(PATHS[0], content=content, headers={"content-type": media_type})
    assert answer.status_code == status
    assert counted("galley_validation_http_error", status=str(status)) == before + 1


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"{}", b'{"apiVersion":"v1","kind":"Pod","request":{"uid":"","operation":"CREATE"}}', b'{"a":' * 5000],
    ids=["cut", "list", "nothing", "other kind", "nested"],
)
async def test_a_body_that_is_no_review_is_refused_in_the_form_of_one(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post(PATHS[0], content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["kind"]) == (200, "AdmissionReview")
    assert answer.json()["response"]["allowed"] is False
    assert "cannot read the AdmissionReview" in answer.json()["response"]["status"]["message"]


async def test_refusals_are_counted_by_reason(client: httpx.AsyncClient) -> None:
    questions = {
        "unsupported_operation": review(None, operation="DELETE"),
        "unknown_type": review({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}),
        "crd_conversion_error": review(broken()),
        "invalid_resource": review(document("VirtualService", "x", {"hosts": ["a"]})),
    }
    before = {reason: counted("galley_validation_failed", reason=reason) for reason in questions}
    passed = counted("galley_validation_passed", resource="VirtualService")
    for question in questions.values():
        await client.post(PATHS[0], json=question)
    await client.post(PATHS[0], json=review(virtual_service()))
    assert {reason: counted("galley_validation_failed", reason=reason) for reason in questions} == {r: n + 1 for r, n in before.items()}
    assert counted("galley_validation_passed", resource="VirtualService") == passed + 1


async def test_ready_follows_the_store_and_a_standby_does_not_judge(
    serving: RunningGalley, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    assert (await client.get("/ready")).status_code == 200
    state: dict[str, Any] = {"database": serving.component._settings.database_url, "when_locked": "wait", "webhook_address": "127.0.0.1:0"}
    async with running_galley(tmp_path, **state) as standby:
        address = standby.addresses["webhook"]
        async with https_client(address, part="galley", roots_pem=authority.bundle_pem, token="") as other:
            assert (await other.get("/ready")).status_code == 503
            assert (await other.post(PATHS[0], json=review(virtual_service()))).status_code == 503


async def test_the_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    identity = galley_identity()
    async with running_galley(tmp_path, identity=identity, webhook_address="127.0.0.1:0") as running:
        first = await served_certificate(running.addresses["webhook"])
        updates = counted("galley_validation_cert_key_updates")
        spiffe = identity.spiffe_id
        identity.replace(material_of(authority, spiffe.namespace, spiffe.service_account))
        assert await served_certificate(running.addresses["webhook"]) != first
        assert counted("galley_validation_cert_key_updates") == updates + 1
        assert counted("galley_validation_cert_expiry_timestamp_seconds") == identity.current.not_after.timestamp()


async def served_certificate(address: str) -> bytes:
    context = ssl.create_default_context(cadata=authority.bundle_pem.decode())
    host, port = address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="istio-galley.istio-system.svc")
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate
    finally:
        writer.close()


def counted(name: str, **labels: str) -> float:
    """The sum of a metric's series that carry these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = (line for line in process_registry.text().decode().splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in wanted))


def test_the_manifest_names_each_kind_of_ours_once_and_no_other() -> None:
    built = manifest({"service": {"name": "istio-galley", "namespace": "istio-system", "port": 443}}, authority.bundle_pem)
    named = [
        (rule["apiGroups"][0], rule["apiVersions"][0], plural)
        for webhook in built["webhooks"]
        for rule in webhook["rules"]
        for plural in rule["resources"]
    ]
    ours = {(kind.group, kind.version, kind.plural) for kind in registry if kind.group.endswith("istio.io")}
    assert len(named) == len(set(named))
    assert set(named) == ours
    assert not any("*" in piece for entry in named for piece in entry), "nothing unrelated can be held up"
    assert ("", "v1", "services") not in ours
    assert {webhook["failurePolicy"] for webhook in built["webhooks"]} == {"Fail"}
    pilot, mixer = built["webhooks"]
    assert [w["clientConfig"]["service"]["path"] for w in (pilot, mixer)] == list(PATHS)
    assert {plural for rule in mixer["rules"] for plural in rule["resources"]} >= {"rules", "handlers", "instances"}
    assert {plural for rule in pilot["rules"] for plural in rule["resources"]} >= {"virtualservices", "quotaspecs"}


def test_the_command_prints_it(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.bundle_pem)
    arguments = [
        "webhook",
        "manifest",
        "--ca",
        str(roots),
        "--url",
        "https://istio-galley.istio-system.svc:9443/",
        "--failure-policy",
        "Ignore",
    ]
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 0, said.output
    printed = yaml.safe_load(said.output)
    client = printed["webhooks"][0]["clientConfig"]
    assert client["url"] == "https://istio-galley.istio-system.svc:9443/admitpilot"
    assert base64.b64decode(client["caBundle"]) == authority.bundle_pem
    assert printed["webhooks"][1]["failurePolicy"] == "Ignore"
    assert json.loads(msgspec.json.encode(printed))["kind"] == "ValidatingWebhookConfiguration"

    roots.write_text("no certificate")
    failed = CliRunner().invoke(main, arguments)
    assert (failed.exit_code, failed.output) == (1, f"galley: {roots}: no certificate in PEM form\n")
    assert CliRunner().invoke(main, ["webhook", "manifest", "--ca", str(tmp_path / "none")]).exit_code == 1


def test_a_name_that_is_not_in_the_certificate_is_refused(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.bundle_pem)
    for url in ("https://galley.example:9443", "http://istio-galley.istio-system.svc", "istio-galley.istio-system.svc"):
        said = CliRunner().invoke(main, ["webhook", "manifest", "--ca", str(roots), "--url", url])
        assert (said.exit_code, "that is the name in Galley's certificate" in said.output) == (1, True)


async def test_core_kinds_are_answered_if_somebody_sends_them_all_the_same(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATHS[0], json=review(service()))).json()["response"]["allowed"] is True
