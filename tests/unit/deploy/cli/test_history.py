# SPDX-License-Identifier: Apache-2.0
"""history, diff between revisions, rollback and delete: what happened, and how to undo it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Mesh = Callable[..., Awaitable[Any]]

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: %d}]}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


async def changed(mesh: Mesh, config: Path, *ports: int) -> list[int]:
    """Apply one Service with one port after the other; the revisions that this made."""
    for port in ports:
        config.write_text(SERVICE % port)
        assert (await mesh("apply", "-f", str(config))).code == 0
    found = json.loads((await mesh("history", "svc", "a", "-o", "json")).out)
    return [each["revision"] for each in reversed(found)][-len(ports) :]


async def test_history_lists_the_changes_newest_first(mesh: Mesh, config: Path) -> None:
    first, second = await changed(mesh, config, 1, 2)
    await mesh("delete", "svc", "a")
    head, *rows = (await mesh("history", "svc", "a", "--limit", "3")).out.splitlines()
    assert head.split() == ["REVISION", "AT", "ACTION", "BY", "FROM"]
    assert [row.split()[0] for row in rows] == [str(second + 1), str(second), str(first)]
    assert [row.split()[2:4] for row in rows] == [["delete", "admin"], ["update", "admin"], ["create", "admin"]]
    assert rows[1].split()[4] == f"{config}:1"
    assert "Service default/a" in (await mesh("history")).out
    assert "Service default/a" in (await mesh("history", "svc")).out
    assert (await mesh("history", "vs", "-n", "nowhere")).err == "Nothing was changed yet.\n"
    assert "has no history" in (await mesh("history", "svc", "never")).err


async def test_an_old_revision_can_be_read_and_applied(mesh: Mesh, config: Path) -> None:
    first, second = await changed(mesh, config, 1, 2)
    old = (await mesh("history", "svc", "a", "--revision", str(first))).out
    assert yaml.safe_load(old)["spec"]["ports"][0]["port"] == 1
    assert (await mesh("history", "svc", "a", "--revision", str(second + 50), "-o", "json")).out.count('"port": 2') == 1
    assert (await mesh("history", "--revision", "1")).code == 2


async def test_diff_between_revisions(mesh: Mesh, config: Path) -> None:
    first, second, third = await changed(mesh, config, 1, 2, 3)

    async def lines(*arguments: str) -> list[str]:
        ran = await mesh("diff", "svc", "a", *arguments)
        assert ran.code == (1 if ran.out else 0)
        return [line for line in ran.out.splitlines() if "port:" in line]

    assert await lines() == ["-    port: 2", "+    port: 3"]
    assert await lines("--from", str(first)) == ["-    port: 1", "+    port: 3"]
    assert await lines("--from", str(first), "--to", str(second)) == ["-    port: 1", "+    port: 2"]
    assert await lines("--from", str(third)) == []
    assert await lines("--from", "0", "--to", str(first)) == ["+    port: 1"]
    head = (await mesh("diff", "svc", "a")).out.splitlines()[:2]
    assert head == [f"--- revision {second}: Service default/a", f"+++ revision {third}: Service default/a"]
    assert (await mesh("diff", "svc")).code == 2
    assert (await mesh("diff", "-f", str(config), "--from", "1")).code == 2


async def test_rollback_undoes_the_last_change_and_can_be_undone(mesh: Mesh, config: Path) -> None:
    async def port() -> int:
        return int(yaml.safe_load((await mesh("get", "svc", "a", "-o", "yaml")).out)["spec"]["ports"][0]["port"])

    first, _, _ = await changed(mesh, config, 1, 2, 3)
    assert (await mesh("rollback", "svc", "a", "--dry-run")).out == "Service default/a configured (dry run)\n"
    assert await port() == 3
    assert (await mesh("rollback", "svc", "a")).out == "Service default/a configured\n"
    assert await port() == 2
    assert (await mesh("rollback", "svc", "a")).code == 0
    assert await port() == 3, "a rollback can be rolled back"
    await mesh("rollback", "svc", "a", "--to-revision", str(first))
    assert await port() == 1
    assert (await mesh("rollback", "svc", "a", "--to-revision", str(first))).out == "Service default/a unchanged\n"
    newest = json.loads((await mesh("history", "svc", "a", "-o", "json")).out)[0]["revision"]
    assert (await mesh("rollback", "svc", "a", "--to-revision", str(newest))).out == f"Nothing has changed since revision {newest}.\n"


async def test_rollback_of_everything(mesh: Mesh, config: Path) -> None:
    (first,) = await changed(mesh, config, 1)
    config.write_text(SERVICE % 2 + "---\n" + (SERVICE % 3).replace("name: a", "name: b"))
    await mesh("apply", "-f", str(config))
    ran = await mesh("rollback", "--all", "-n", "default", "--to-revision", str(first))
    assert ran.out.splitlines() == ["Service default/a configured", "Service default/b deleted"]
    assert (await mesh("rollback", "--all")).code == 2
    assert (await mesh("rollback", "svc")).code == 2
    assert "there is no revision 999999" in (await mesh("rollback", "--all", "--to-revision", "999999")).err


async def test_delete_by_file_in_one_transaction(mesh: Mesh, config: Path) -> None:
    await changed(mesh, config, 1)
    assert (await mesh("delete", "-f", str(config), "--dry-run")).out == "Service default/a deleted (dry run)\n"
    assert (await mesh("get", "svc", "a")).code == 0
    assert (await mesh("delete", "-f", str(config))).out == "Service default/a deleted\n"
    assert (await mesh("get", "svc", "a")).code == 1
