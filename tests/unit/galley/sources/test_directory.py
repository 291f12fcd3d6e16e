# SPDX-License-Identifier: Apache-2.0
"""A directory of YAML under a running Galley: what users do to files, and what then is in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running_galley import RunningGalley, running_galley, service, virtual_service

LIST = "/apis/networking.istio.io/v1alpha3/virtualservices"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    return folder


@pytest.fixture
async def galley(tmp_path: Path, files: Path) -> AsyncIterator[RunningGalley]:
    (files / "first.yaml").write_text(yaml.safe_dump(virtual_service("first")))
    async with running_galley(tmp_path / "state", config_path=files) as running:
        yield running


def write(path: Path, *documents: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump_all(documents))


async def hosts(galley: RunningGalley) -> dict[str, str]:
    async with galley.rest() as client:
        return {item["metadata"]["name"]: item["spec"]["hosts"][0] for item in (await client.get(LIST)).json()["items"]}


async def sources(galley: RunningGalley) -> dict[str, dict[str, Any]]:
    async with galley.rest() as client:
        return {item["file"]: item for item in (await client.get("/apis/fourmast.io/v1/sources")).json()["items"]}


async def until(galley: RunningGalley, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    async with asyncio.timeout(5):
        while not condition(found := await hosts(galley)):
            await asyncio.sleep(0.03)
    return found


async def until_state(galley: RunningGalley, file: str, state: str) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while (found := (await sources(galley)).get(file, {})).get("state") != state:
            await asyncio.sleep(0.03)
    return found


async def test_files_are_there_when_galley_is_ready(galley: RunningGalley) -> None:
    assert await hosts(galley) == {"first": "reviews"}


async def test_edits_new_files_and_deletions_are_followed(galley: RunningGalley, files: Path) -> None:
    write(files / "first.yaml", virtual_service("first", host="edited"))
    await until(galley, lambda found: found == {"first": "edited"})
    (files / "sub").mkdir()
    await asyncio.sleep(0.1)
    write(files / "sub" / "more.yml", virtual_service("second"), service())
    await until(galley, lambda found: set(found) == {"first", "second"})
    (files / "first.yaml").unlink()
    await until(galley, lambda found: set(found) == {"second"})


async def test_a_rename_is_no_deletion(galley: RunningGalley, files: Path) -> None:
    async with galley.rest() as client:
        path = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/first"
        before = (await client.get(path)).json()["metadata"]
        temporary = files / ".first.swp"  # as editors save
        temporary.write_text(yaml.safe_dump(virtual_service("first", host="saved")))
        temporary.rename(files / "first.yaml")
        await until(galley, lambda found: found == {"first": "saved"})
        (files / "first.yaml").rename(files / "renamed.yaml")
        await until_state(galley, "renamed.yaml", "ok")
        after = (await client.get(path)).json()["metadata"]
    assert after["uid"] == before["uid"]


async def test_a_broken_file_keeps_its_last_good_state_and_says_what_is_wrong(galley: RunningGalley, files: Path) -> None:
    (files / "first.yaml").write_text(
        "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: first}\nspec:\n  hots: [x]\n"
    )
    state = await until_state(galley, "first.yaml", "error")
    assert {(p["line"], p["path"]) for p in state["problems"]} >= {(5, "spec.hots")}
    write(files / "other.yaml", virtual_service("other"))
    assert await until(galley, lambda found: "other" in found) == {"first": "reviews", "other": "reviews"}
    (files / "first.yaml").write_text("a: [")
    await asyncio.sleep(0.3)
    assert "first" in await hosts(galley)
    write(files / "first.yaml", virtual_service("first", host="mended"))
    await until(galley, lambda found: found["first"] == "mended")
    assert (await sources(galley))["first.yaml"]["state"] == "ok"


async def test_one_bad_document_holds_its_whole_file_back(galley: RunningGalley, files: Path) -> None:
    bad = virtual_service("bad")
    bad["spec"]["hosts"] = []
    write(files / "two.yaml", virtual_service("good"), bad)
    await until_state(galley, "two.yaml", "error")
    assert set(await hosts(galley)) == {"first"}


async def test_what_a_file_declares_the_api_cannot_change(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        path = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/first"
        for answer in (await client.delete(path), await client.put(path, json=virtual_service("first", host="x"))):
            assert answer.status_code == 409
            assert "belongs to the file first.yaml:1; change it there" in answer.json()["message"]
    await galley.apply(virtual_service("by-api"))


async def test_what_changed_while_galley_was_away_is_seen_at_its_start(tmp_path: Path, files: Path) -> None:
    write(files / "a.yaml", virtual_service("a"))
    write(files / "b.yaml", virtual_service("b"))
    async with running_galley(tmp_path / "state", config_path=files) as galley:
        assert set(await hosts(galley)) == {"a", "b"}
    (files / "a.yaml").unlink()
    (files / "b.yaml").write_text("broken: [")
    async with running_galley(tmp_path / "state", config_path=files) as galley:
        assert set(await hosts(galley)) == {"b"}, "a was deleted; b cannot be read and keeps its last good state"
    async with running_galley(tmp_path / "state") as galley:
        async with galley.rest() as client:
            answer = await client.delete("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/b")
        assert answer.status_code == 200, "without the directory nobody owns it"


async def test_a_directory_that_vanishes_deletes_nothing(galley: RunningGalley, files: Path) -> None:
    moved = files.with_name("moved")
    files.rename(moved)
    await asyncio.sleep(0.4)
    assert set(await hosts(galley)) == {"first"}
    write(moved / "second.yaml", virtual_service("second"))
    moved.rename(files)
    await until(galley, lambda found: set(found) == {"first", "second"})
