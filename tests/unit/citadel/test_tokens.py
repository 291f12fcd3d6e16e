# SPDX-License-Identifier: Apache-2.0
"""Join tokens as the store keeps them: bounded in time and use, and merciful to a lost answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from citadel.errors import CallerError, RequestError
from citadel.store import tokens
from citadel.store.authority import load_or_make
from citadel.store.database import open_store
from common.database import Writer
from common.lifecycle.host import StartError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Writer]:
    async with open_store(tmp_path / "state" / "citadel.db") as opened:
        yield opened


async def created(store: Writer, **more: Any) -> tuple[tokens.TokenRow, str]:
    bounds: dict[str, Any] = {"uses": 1, "lifetime": timedelta(hours=1), "label_bounds": {"app": "sleep"}, **more}
    return await store.transaction(
        lambda c: tokens.create(c, namespace="default", service_account="sleep", created_by="test", now=NOW, **bounds)
    )


async def spend(store: Writer, token: str, key: str, **later: float) -> tokens.Grant:
    return await store.transaction(lambda c: tokens.spend(c, token, key_hash=key, now=NOW + timedelta(**later)))


async def refused(store: Writer, token: str, key: str = "key", **later: float) -> str:
    with pytest.raises(CallerError) as caught:
        await spend(store, token, key, **later)
    return str(caught.value)


async def test_a_token_grants_what_it_was_made_for_once(store: Writer) -> None:
    row, token = await created(store)
    assert await spend(store, token, "a") == tokens.Grant(row.id, "default", "sleep", {"app": "sleep"})
    await refused(store, token, "b")


async def test_the_same_key_may_come_again_for_a_while(store: Writer) -> None:
    _, token = await created(store)
    await spend(store, token, "a")
    await spend(store, token, "a", minutes=9)
    await refused(store, token, "b", minutes=9)
    await refused(store, token, "a", minutes=11)
    (row,) = await store.transaction(tokens.listed)
    assert row.used == 1


async def test_uses_are_counted_and_zero_means_any_number(store: Writer) -> None:
    _, twice = await created(store, uses=2)
    await spend(store, twice, "a")
    await spend(store, twice, "b")
    await refused(store, twice, "c")
    _, often = await created(store, uses=0)
    for number in range(5):
        await spend(store, often, str(number))


async def test_of_many_at_once_exactly_one_wins(store: Writer) -> None:
    _, token = await created(store)
    results = await asyncio.gather(*(spend(store, token, str(n)) for n in range(20)), return_exceptions=True)
    assert sum(isinstance(result, tokens.Grant) for result in results) == 1


async def test_every_refusal_reads_the_same(store: Writer) -> None:
    row, token = await created(store)
    texts = {
        await refused(store, token, hours=1),
        await refused(store, token[:-1] + ("A" if token[-1] != "A" else "B")),
        await refused(store, f"fmj1.{'0' * 12}.{token.split('.')[2]}"),
        await refused(store, "fmj1"),
        await refused(store, "x" * 10_000),
        await refused(store, f"fmj1.{row.id}."),
        await refused(store, f"fmj2.{row.id}.{token.split('.')[2]}"),
    }
    await store.transaction(lambda c: tokens.revoke(c, row.id, now=NOW))
    texts.add(await refused(store, token))
    assert len(texts) == 1


async def test_checking_spends_nothing(store: Writer) -> None:
    _, token = await created(store)
    for _ in range(3):
        await store.transaction(lambda c: tokens.check(c, token, now=NOW))
    await spend(store, token, "a")


async def test_the_secret_is_nowhere_in_the_database(store: Writer, tmp_path: Path) -> None:
    _, token = await created(store)
    secret = token.split(".")[2]
    await store.transaction(lambda c: c.execute(text("SELECT 1")))
    for path in (tmp_path / "state").iterdir():
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600, path


@pytest.mark.parametrize(
    "wrong",
    [{"uses": -1}, {"lifetime": timedelta(0)}, {"lifetime": timedelta(days=400)}],
)
async def test_unbounded_tokens_are_not_made(store: Writer, wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        await created(store, **wrong)


async def test_a_second_citadel_is_kept_out(store: Writer, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="another citadel"):
        async with open_store(tmp_path / "state" / "citadel.db"):
            pass


async def test_root_and_keys_are_made_once(tmp_path: Path) -> None:
    async def load() -> Any:
        async with open_store(tmp_path / "citadel.db") as store:
            return await store.transaction(lambda c: load_or_make(c, trust_domain="cluster.local", now=NOW))

    first, second = await load(), await load()
    assert (first.made, second.made) == (True, False)
    assert first.root.fingerprint == second.root.fingerprint
    assert first.api_keys_pem == second.api_keys_pem
    assert "PRIVATE" not in repr(first)


async def test_old_tokens_are_forgotten(store: Writer) -> None:
    await created(store)
    assert await store.transaction(lambda c: tokens.forget_expired(c, before=NOW + timedelta(minutes=59))) == 0
    assert await store.transaction(lambda c: tokens.forget_expired(c, before=NOW + timedelta(hours=2))) == 1
