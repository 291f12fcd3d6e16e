# SPDX-License-Identifier: Apache-2.0
"""The certificate service and the admin interface of a running Citadel, as callers see them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from click.testing import CliRunner
from cryptography import x509

from citadel import metrics
from citadel.cli import main
from citadel.settings import CitadelSettings
from common.identity.certificates import new_key, signing_request
from common.identity.join_file import JoinFile
from common.identity.material import WorkloadIdentity
from common.identity.request import request_certificate
from common.identity.tls import grpc_channel, peer_of_certificate, server_name_options
from common.mesh.names import SERVICE_ACCOUNTS
from common.proto.citadel.v1_pb2 import IstioCertificateRequest, IstioCertificateResponse
from common.telemetry.metrics import process_registry
from tests.running_citadel import RunningCitadel, identity_of, new_authority, running_citadel

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@pytest.fixture(scope="module")
async def citadel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningCitadel]:
    async with running_citadel(tmp_path_factory.mktemp("citadel"), max_workload_cert_ttl="48h") as running:
        yield running


async def token_of(citadel: RunningCitadel, tmp_path: Path, **more: Any) -> str:
    return JoinFile.load(await citadel.join_file(tmp_path / "join.json", **more)).token


async def create(citadel: RunningCitadel, body: bytes, *metadata: tuple[str, str]) -> IstioCertificateResponse:
    """The raw call, as any client may make it."""
    credentials = grpc.ssl_channel_credentials((citadel.state_dir / "roots.pem").read_bytes())
    async with grpc.aio.secure_channel(citadel.addresses["csr"], credentials, options=server_name_options("citadel")) as channel:
        method: Any = channel.unary_unary(METHOD)
        return IstioCertificateResponse.FromString(await method(body, metadata=metadata, timeout=5))


def request(*, seconds: int = 0, csr: str | None = None) -> bytes:
    text = signing_request(new_key()).decode() if csr is None else csr
    return IstioCertificateRequest(csr=text, validity_duration=seconds).SerializeToString()


async def refusal(citadel: RunningCitadel, body: bytes, *metadata: tuple[str, str]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(citadel, body, *metadata)
    return caught.value.code()


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


async def test_the_answer_has_istios_shape(citadel: RunningCitadel, tmp_path: Path) -> None:
    answer = await create(citadel, request(), bearer(await token_of(citadel, tmp_path)))
    leaf, root = answer.cert_chain
    assert root.encode() == (citadel.state_dir / "roots.pem").read_bytes()
    x509.load_pem_x509_certificate(leaf.encode()).verify_directly_issued_by(x509.load_pem_x509_certificate(root.encode()))


async def test_nothing_is_parsed_for_a_stranger(citadel: RunningCitadel) -> None:
    before = metrics.csr_parsing_errors.value()
    for body in (b"\xff\xff not protobuf", request(csr="not a request"), request()):
        assert await refusal(citadel, body) is grpc.StatusCode.UNAUTHENTICATED
        assert await refusal(citadel, body, bearer("fmj1.000000000000.wrong")) is grpc.StatusCode.UNAUTHENTICATED
    assert metrics.csr_parsing_errors.value() == before


async def test_a_bad_request_spends_no_token(citadel: RunningCitadel, tmp_path: Path) -> None:
    credential = bearer(await token_of(citadel, tmp_path))
    for body in (b"\xff\xff not protobuf", request(csr="not a request"), request(seconds=49 * 3600)):
        assert await refusal(citadel, body, credential) is grpc.StatusCode.INVALID_ARGUMENT
    assert (await create(citadel, request(seconds=48 * 3600), credential)).cert_chain


async def test_two_credentials_are_none(citadel: RunningCitadel, tmp_path: Path) -> None:
    token = await token_of(citadel, tmp_path)
    assert await refusal(citadel, request(), bearer(token), bearer(token)) is grpc.StatusCode.UNAUTHENTICATED
    assert await refusal(citadel, request(), ("authorization", f"Basic {token}")) is grpc.StatusCode.UNAUTHENTICATED


async def test_an_oversized_message_is_refused(citadel: RunningCitadel, tmp_path: Path) -> None:
    body = request(csr="x" * 100_000)
    assert await refusal(citadel, body, bearer(await token_of(citadel, tmp_path))) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def renew(citadel: RunningCitadel, identity: WorkloadIdentity, *metadata: tuple[str, str]) -> grpc.StatusCode:
    async with grpc_channel(identity, citadel.addresses["renewal"], part="citadel") as channel:
        method: Any = channel.unary_unary(METHOD)
        try:
            await method(request(), metadata=metadata, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_the_renewal_port_takes_recorded_certificates_only(citadel: RunningCitadel, tmp_path: Path) -> None:
    joining = JoinFile.load(await citadel.join_file(tmp_path / "join.json"))
    roots = joining.roots.encode()
    issued = await request_certificate(citadel.addresses["csr"], key=new_key(), token=joining.token, roots_pem=roots)
    identity = WorkloadIdentity(issued.material)
    assert await renew(citadel, identity) is grpc.StatusCode.OK
    token = await token_of(citadel, tmp_path)
    stranger = identity_of(new_authority(), "default", "sleep")
    stranger.replace(type(stranger.current)(**{**_fields(stranger), "roots_pem": roots}))
    assert await renew(citadel, stranger, bearer(token)) is grpc.StatusCode.UNAVAILABLE  # the handshake fails
    async with citadel.admin() as client:
        answer = await client.post("/v1/revoke", json={"kind": "serial", "subject": identity.current.serial})
        assert answer.json() == {"revoked": 1}
    assert await renew(citadel, identity) is grpc.StatusCode.PERMISSION_DENIED
    assert await renew(citadel, identity, bearer(token)) is grpc.StatusCode.PERMISSION_DENIED


def _fields(identity: WorkloadIdentity) -> dict[str, Any]:
    return {name: getattr(identity.current, name) for name in identity.current.__dataclass_fields__}


async def test_an_unrecorded_certificate_of_the_right_root_is_not_renewed(tmp_path: Path) -> None:
    """A root key that signs elsewhere, or a database that was put back to an older copy."""
    from citadel.authority.issuing import Authority
    from citadel.store.authority import load_or_make
    from citadel.store.database import open_store

    async with open_store(tmp_path / "citadel.db") as store:
        from datetime import UTC, datetime

        signing = await store.transaction(lambda c: load_or_make(c, trust_domain="cluster.local", now=datetime.now(UTC)))
    async with running_citadel(tmp_path) as citadel:
        assert await renew(citadel, identity_of(Authority(signing.root), "default", "sleep")) is grpc.StatusCode.UNAUTHENTICATED


async def test_too_many_calls_are_told_to_come_later(tmp_path: Path) -> None:
    async with running_citadel(tmp_path, requests_per_peer=0.2) as citadel:
        codes = [await refusal(citadel, request()) for _ in range(4)]
    assert codes[:2] == [grpc.StatusCode.UNAUTHENTICATED] * 2
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_files_of_the_first_start(citadel: RunningCitadel) -> None:
    files = [path for path in citadel.state_dir.rglob("*") if path.is_file()]
    assert {path.relative_to(citadel.state_dir).as_posix() for path in files} >= {
        "admin.token",
        "jwks.json",
        "roots.pem",
        "join/galley.json",
        "join/pilot.json",
        "join/mixer.json",
    }
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    for part in ("galley", "pilot", "mixer"):
        joining = JoinFile.load(citadel.state_dir / "join" / f"{part}.json")
        assert joining.citadel == citadel.addresses["csr"]
        for _ in range(2):  # reusable: a part may lose its state
            issued = await request_certificate(
                citadel.addresses["csr"], key=new_key(), token=joining.token, roots_pem=joining.roots.encode()
            )
            assert issued.material.spiffe_id.service_account == SERVICE_ACCOUNTS[part]


async def test_the_public_part_of_the_admin_interface(citadel: RunningCitadel) -> None:
    async with citadel.admin(token="") as client:
        assert (await client.get("/v1/roots")).content == (citadel.state_dir / "roots.pem").read_bytes()
        assert (await client.get("/v1/jwks")).json() == json.loads((citadel.state_dir / "jwks.json").read_bytes())
        for method, path in (("GET", "/v1/tokens"), ("POST", "/v1/tokens"), ("GET", "/v1/certificates"), ("POST", "/v1/revoke")):
            assert (await client.request(method, path)).status_code == 401
        assert (await client.post("/v1/api-tokens", json={"name": "eve", "role": "admin"})).status_code == 401


async def api_token(citadel: RunningCitadel, role: str, *namespaces: str) -> str:
    async with citadel.admin() as client:
        answer = await client.post("/v1/api-tokens", json={"name": "anna", "role": role, "namespaces": namespaces})
        token: str = answer.json()["token"]
        return token


async def test_an_editor_admits_workloads_to_its_own_namespaces_only(citadel: RunningCitadel) -> None:
    async with citadel.admin(token=await api_token(citadel, "editor", "bookinfo")) as editor:
        ours = {"namespace": "bookinfo", "serviceAccount": "bookinfo-ratings"}
        assert (await editor.post("/v1/tokens", json=ours)).status_code == 201
        for namespace in ("default", "istio-system"):
            assert (await editor.post("/v1/tokens", json={**ours, "namespace": namespace})).status_code == 403
        assert {token["namespace"] for token in (await editor.get("/v1/tokens")).json()} == {"bookinfo"}
        assert (await editor.get("/v1/certificates")).json() == []
        assert (await editor.post("/v1/api-tokens", json={"name": "eve", "role": "admin"})).status_code == 403
        assert (await editor.post("/v1/revoke", json={"kind": "serial", "subject": "1"})).status_code == 403
    async with citadel.admin(token=await api_token(citadel, "viewer")) as viewer:
        assert (await viewer.post("/v1/tokens", json=ours)).status_code == 403
        assert (await viewer.get("/v1/certificates")).json() != []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"namespace": "default"},
        {"namespace": "default", "serviceAccount": "sleep", "label": {"app": "sleep"}},
        {"namespace": "Default", "serviceAccount": "sleep"},
        {"namespace": "default", "serviceAccount": "a/b"},
        {"namespace": "default", "serviceAccount": "sleep", "ttlSeconds": 0},
        {"namespace": "default", "serviceAccount": "sleep", "uses": -1},
    ],
)
async def test_a_wrong_token_request_makes_no_token(citadel: RunningCitadel, body: dict[str, Any]) -> None:
    async with citadel.admin() as client:
        before = len((await client.get("/v1/tokens")).json())
        assert (await client.post("/v1/tokens", json=body)).status_code == 422
        assert len((await client.get("/v1/tokens")).json()) == before


async def test_no_secret_is_ever_listed(citadel: RunningCitadel, tmp_path: Path) -> None:
    token = await token_of(citadel, tmp_path)
    async with citadel.admin() as client:
        assert token.split(".")[2] not in (await client.get("/v1/tokens")).text
        assert "PRIVATE" not in (await client.get("/v1/certificates")).text
        assert (await client.post("/v1/revoke", json={"kind": "token", "subject": "absent"})).status_code == 404


async def test_the_admin_interface_shows_citadels_own_certificate(citadel: RunningCitadel) -> None:
    async with citadel.admin() as client, client.stream("GET", "/v1/roots") as answer:
        shown = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert peer_of_certificate(shown) == ("cluster.local", "istio-system", "istio-citadel-service-account")


async def test_the_expiry_of_the_root_is_exported(citadel: RunningCitadel) -> None:
    root = x509.load_pem_x509_certificate((citadel.state_dir / "roots.pem").read_bytes())
    (line,) = [line for line in process_registry.text().decode().splitlines() if line.startswith(metrics.ROOT_EXPIRY)]
    assert float(line.split()[1]) > root.not_valid_before_utc.timestamp() + 9 * 365 * 86400


def test_settings_bound_the_validity() -> None:
    for bad in ("0s", "2161h", "soon"):
        with pytest.raises(ValueError, match="workload_cert_ttl"):
            CitadelSettings(workload_cert_ttl=bad)


def test_the_command_without_a_citadel_says_so(tmp_path: Path) -> None:
    arguments = [
        "token",
        "create",
        "--namespace",
        "a",
        "--service-account",
        "b",
        "--out",
        str(tmp_path / "o"),
        "--state-dir",
        str(tmp_path),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "roots.pem" in result.output
