# SPDX-License-Identifier: Apache-2.0
"""What a part finds on its disk after a restart."""

from __future__ import annotations

from pathlib import Path

from common.mcp import Change
from common.mcp.lastgood import LastGood
from tests.unit.common.mcp.worlds import GATEWAYS, VIRTUAL_SERVICES, virtual_service


def names(changes: list[Change]) -> dict[str, tuple[str, list[str]]]:
    return {c.collection: (c.version, [r.name for r in c.upserts]) for c in changes}


def test_differences_add_up_and_survive_a_restart(tmp_path: Path) -> None:
    store = LastGood(tmp_path / "lastgood")
    assert store.load() == []
    store.record(Change(collection=VIRTUAL_SERVICES, version="v/1", upserts=(virtual_service("a", 1), virtual_service("b", 1)), full=True))
    store.record(Change(collection=VIRTUAL_SERVICES, version="v/2", upserts=(virtual_service("c", 2),), removed=("default/a",)))
    store.record(Change(collection=GATEWAYS, version="g/0", full=True, traceparent="00-1-2-01"))

    again = LastGood(tmp_path / "lastgood")
    loaded = again.load()

    assert names(loaded) == {VIRTUAL_SERVICES: ("v/2", ["b", "c"]), GATEWAYS: ("g/0", [])}
    assert all(change.full for change in loaded)
    again.record(Change(collection=VIRTUAL_SERVICES, version="v/3", removed=("default/b",)))
    assert names(LastGood(tmp_path / "lastgood").load())[VIRTUAL_SERVICES] == ("v/3", ["c"])


def test_a_full_change_replaces(tmp_path: Path) -> None:
    store = LastGood(tmp_path)
    store.record(Change(collection=VIRTUAL_SERVICES, version="v/1", upserts=(virtual_service("a", 1),), full=True))
    store.record(Change(collection=VIRTUAL_SERVICES, version="v/2", upserts=(virtual_service("b", 2),), full=True))
    assert names(LastGood(tmp_path).load()) == {VIRTUAL_SERVICES: ("v/2", ["b"])}


def test_files_are_private(tmp_path: Path) -> None:
    LastGood(tmp_path / "l").record(Change(collection=VIRTUAL_SERVICES, version="v/1", full=True))
    assert [oct(p.stat().st_mode & 0o777) for p in (tmp_path / "l").iterdir()] == ["0o600"]


def test_a_damaged_file_is_no_reason_not_to_start(tmp_path: Path) -> None:
    store = LastGood(tmp_path)
    store.record(Change(collection=VIRTUAL_SERVICES, version="v/1", upserts=(virtual_service("a", 1),), full=True))
    store.record(Change(collection=GATEWAYS, version="g/1", full=True))
    next(tmp_path.glob("gateways-*")).write_bytes(b"{ torn")
    assert names(LastGood(tmp_path).load()) == {VIRTUAL_SERVICES: ("v/1", ["a"])}
