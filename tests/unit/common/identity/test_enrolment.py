# SPDX-License-Identifier: Apache-2.0
"""Conversations between a workload and a real Citadel: joining, rejoining, losing answers, renewing, being refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.identity import enrolment
from common.identity.certificates import new_key
from common.identity.enrolment import Member, enrol
from common.identity.errors import EnrolmentError
from common.identity.material import WorkloadIdentity
from common.identity.request import CitadelUnavailable, renew_certificate, request_certificate
from common.identity.stored import StoredIdentity
from common.identity.tokens import TokenVerifier
from tests.running_citadel import RunningCitadel, running_citadel

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
async def citadel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningCitadel]:
    async with running_citadel(tmp_path_factory.mktemp("citadel")) as running:
        yield running


def joining(folder: Path, join_file: Path | None, **more: str) -> AbstractAsyncContextManager[WorkloadIdentity]:
    addresses = {"citadel_address": NOWHERE, "renewal_address": NOWHERE, **more}
    return enrol(join_file=join_file, state_dir=folder / "state", name="sleep", **addresses)


def member(folder: Path, join_file: Path | None, **ahead: float) -> Member:
    """As `enrol` makes it; its clock may run ahead."""
    stored = StoredIdentity(folder / "state", "sleep")
    return Member(join_file, NOWHERE, NOWHERE, stored, clock=lambda: datetime.now(UTC) + timedelta(**ahead))


async def test_a_token_becomes_an_identity_with_private_files(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json", namespace="bookinfo", account="bookinfo-reviews")
    async with joining(tmp_path, join_file) as identity:
        assert str(identity.spiffe_id) == "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-reviews"
        verifier = TokenVerifier.from_jwks(lambda: identity.api_keys)
        assert verifier.verify(citadel.admin_token).role == "admin"
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert files == {"sleep.identity.json": 0o600, "jwks.json": 0o600}


async def test_a_restart_needs_neither_token_nor_citadel(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json")
    async with joining(tmp_path, join_file) as first:
        pass
    async with joining(tmp_path, None) as second:
        assert second.current.serial == first.current.serial
        assert second.api_keys == first.api_keys


async def test_a_used_token_is_refused(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json")
    async with joining(tmp_path / "first", join_file):
        pass
    with pytest.raises(EnrolmentError, match="not valid") as caught:
        async with joining(tmp_path / "second", join_file):
            pass
    assert caught.value.code == "REFUSED"


async def test_a_lost_answer_locks_nobody_out(citadel: RunningCitadel, tmp_path: Path) -> None:
    """The process dies between Citadel's signature and its own writing; the next one asks with the key that was written down."""
    join_file = await citadel.join_file(tmp_path / "join.json")
    lost = await member(tmp_path, join_file)._by_token()
    async with joining(tmp_path, join_file) as identity:
        assert identity.current.serial != lost.material.serial
        assert identity.current.private_key_pem == lost.material.private_key_pem


async def test_an_expired_identity_needs_a_new_token(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json")
    async with joining(tmp_path, join_file) as first:
        pass
    with pytest.raises(EnrolmentError) as caught:
        await member(tmp_path, None, days=2).join()
    assert caught.value.code == "NO_CREDENTIAL"
    with pytest.raises(EnrolmentError) as caught:
        await member(tmp_path, join_file, days=2).join()
    assert caught.value.code == "REFUSED"
    await citadel.join_file(join_file)
    assert (await member(tmp_path, join_file, days=2).join()).current.serial != first.current.serial


async def test_a_newer_join_file_for_another_account_replaces_the_identity(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json", account="sleep")
    async with joining(tmp_path, join_file):
        pass
    await citadel.join_file(join_file, account="productpage")
    async with joining(tmp_path, join_file) as identity:
        assert identity.spiffe_id.service_account == "productpage"


async def test_a_newer_join_file_of_another_mesh_replaces_the_identity(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json")
    async with joining(tmp_path, join_file) as first:
        pass
    async with running_citadel(tmp_path / "other") as other:
        await other.join_file(join_file)
        async with joining(tmp_path, join_file) as second:
            assert second.current.roots_pem != first.current.roots_pem


async def test_a_damaged_identity_is_as_good_as_none(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json", uses=2)
    async with joining(tmp_path, join_file):
        pass
    path = tmp_path / "state" / "sleep.identity.json"
    path.write_bytes(path.read_bytes()[:200])
    async with joining(tmp_path, join_file) as identity:
        assert identity.spiffe_id.service_account == "sleep"


async def test_the_wrong_server_gets_no_token(citadel: RunningCitadel, tmp_path: Path) -> None:
    """Roots of another mesh: the handshake fails before anything is sent, and the workload keeps trying."""
    async with running_citadel(tmp_path / "other") as other:
        roots = (other.state_dir / "roots.pem").read_bytes()
        with pytest.raises(CitadelUnavailable):
            await request_certificate(citadel.addresses["csr"], key=new_key(), token="t", roots_pem=roots)


async def test_joining_waits_for_citadel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(enrolment, "LAST_DELAY", 0.05)
    async with running_citadel(tmp_path / "citadel") as before:
        join_file = await before.join_file(tmp_path / "join.json")
        addresses = dict(before.addresses)
    waiting = asyncio.ensure_future(joining(tmp_path, join_file).__aenter__())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    fixed = {"csr_address": addresses["csr"], "renewal_address": addresses["renewal"]}
    async with running_citadel(tmp_path / "citadel", **fixed):  # the same state: the token is still good, and so are the roots
        identity = await asyncio.wait_for(waiting, 5)
        assert identity.spiffe_id.service_account == "sleep"


async def test_renewal_comes_at_half_life_with_a_new_key_and_the_same_names(tmp_path: Path) -> None:
    async with running_citadel(tmp_path / "citadel", workload_cert_ttl="2s") as citadel:
        join_file = await citadel.join_file(tmp_path / "join.json", labels={"app": "sleep"})
        async with joining(tmp_path, join_file) as identity:
            first, renewed = identity.current, asyncio.Event()
            identity.subscribe(lambda _: renewed.set())
            began = asyncio.get_running_loop().time()
            await asyncio.wait_for(renewed.wait(), 3)
            assert asyncio.get_running_loop().time() - began > 0.4
            second = identity.current
        assert second.spiffe_id == first.spiffe_id
        assert second.serial != first.serial
        assert second.private_key_pem != first.private_key_pem
        assert second.roots_pem == first.roots_pem
        async with citadel.admin() as client:
            rows = (await client.get("/v1/certificates", params={"spiffeId": str(first.spiffe_id), "expired": True})).json()
        assert [(row["authenticator"], row["labels"]) for row in rows] == [
            ("client-certificate", {"app": "sleep"}),
            ("join-token", {"app": "sleep"}),
        ]
        assert rows[0]["credential"] == first.serial


async def test_a_revoked_workload_is_not_renewed_until_it_has_a_new_token(tmp_path: Path, citadel: RunningCitadel) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json", account="revoked")
    joined = member(tmp_path, join_file)
    identity = await joined.join()
    assert (await joined._renew(identity)).material.serial != identity.current.serial
    async with citadel.admin() as client:
        revoked = await client.post("/v1/revoke", json={"kind": "spiffe_id", "subject": str(identity.spiffe_id), "reason": "stolen"})
        assert revoked.json() == {"revoked": 2}
    with pytest.raises(EnrolmentError, match="revoked"):
        await renew_certificate(citadel.addresses["renewal"], identity=identity, key=new_key())
    with pytest.raises(EnrolmentError, match="not valid"):  # falls back to its token, which is used up
        await joined._renew(identity)
    await citadel.join_file(join_file, account="revoked")
    assert (await joined._renew(identity)).material.spiffe_id == identity.spiffe_id


async def test_renewal_is_spread_and_lies_before_the_middle(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json")
    joined = member(tmp_path, join_file)
    identity = await joined.join()
    waits = {joined.seconds_to_renewal(identity) for _ in range(20)}
    half = 12 * 3600
    assert all(0.9 * half < wait <= half for wait in waits)
    assert len(waits) > 1


async def test_leaving_the_block_ends_the_renewal(citadel: RunningCitadel, tmp_path: Path) -> None:
    join_file = await citadel.join_file(tmp_path / "join.json")
    async with joining(tmp_path, join_file):
        assert [task for task in asyncio.all_tasks() if task.get_name() == "renew identity of sleep"]
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "renew identity of sleep"]
    assert sorted(os.listdir(tmp_path / "state")) == ["jwks.json", "sleep.identity.json"]
