# SPDX-License-Identifier: Apache-2.0
"""What Envoy does with an answer, and without one."""

from __future__ import annotations

import asyncio
import json
from importlib import resources
from typing import Any

import httpx
import pytest

from mixer.dispatch.result import DirectResponse, HeaderOperation, Operation
from mixer.errors import CheckError, Overloaded
from tests.integration.mixer.conftest import Host
from tests.integration.mixer.data_plane import Mesh
from tests.integration.mixer.scripted_mixer import ScriptedMixer, by

VECTORS = json.loads(resources.files("common.checkprotocol").joinpath("vectors.json").read_text())


def cases(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[name], ids=lambda case: case.get("case", case.get("name")))


async def test_every_code_becomes_its_status_and_text_also_from_the_cache(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    for case in VECTORS["denials"]:
        mixer.decide = lambda bag, quotas, code=case["code"]: by("user", status_code=code, message="denyall.default:no")  # type: ignore[misc]
        for _ in range(2):
            answer = await mesh.get(host.closed, headers={"user": case["name"]})
            assert (answer.status_code, answer.text) == (case["httpStatus"], f"{case['name']}:denyall.default:no")
    assert len(mixer.asked) == len(VECTORS["denials"])


async def test_a_listener_that_refers_to_the_text_decides_as_one_that_carries_it(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    assert [await mesh.script_of(name) for name in ("plain", "mesh")] == ["inline_string", "environment_variable"]
    mixer.decide = lambda bag, quotas: by("user", status_code=7 if bag["request.headers"].get("user") == "eve" else 0, message="no")
    for get in (mesh.get, mesh.get_as_reviews):
        answers = [await get(host.closed, headers={"user": user}) for user in ("eve", "jason", "eve", "jason")]
        assert [(answer.status_code, answer.text == "PERMISSION_DENIED:no") for answer in answers] == [(403, True), (200, False)] * 2
    assert len(mixer.asked) == 4


@cases("answers")
async def test_answers_are_read_as_written(mesh: Mesh, mixer: ScriptedMixer, host: Host, case: dict[str, Any]) -> None:
    mixer.raw = case["body"].encode()
    for _ in range(2):
        answer = await mesh.get(host.closed)
        assert answer.status_code == case["status"]
        assert answer.text == case.get("text", answer.text)
    assert len(mixer.reporters) == (1 if case["kept"] else 2)


@cases("malformedAnswers")
async def test_an_answer_that_is_half_understood_is_no_answer(mesh: Mesh, mixer: ScriptedMixer, host: Host, case: dict[str, Any]) -> None:
    mixer.raw = case["body"].encode()
    assert (await mesh.get(host.closed)).status_code == 503
    assert (await mesh.get(host.open)).status_code == 200


async def test_an_adapter_that_fails_follows_the_fail_policy(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    def broken(*_: object) -> Any:
        raise CheckError(["opa.default: connection refused"])

    mixer.decide = broken
    answer = await mesh.get(host.closed)
    assert answer.status_code == 500
    assert answer.text == "INTERNAL:performing check operation failed: opa.default: connection refused"
    assert (await mesh.get(host.open)).status_code == 200
    await mesh.get(host.closed)
    assert len(mixer.asked) == 3  # a failure is never kept


async def test_an_overloaded_mixer_is_unavailable(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    def shed(*_: object) -> Any:
        raise Overloaded("too many checks")

    mixer.decide = shed
    answer = await mesh.get(host.closed)
    assert (answer.status_code, answer.text) == (503, "UNAVAILABLE:too many checks")


async def test_a_slow_mixer_is_waited_for_as_long_as_the_route_says(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.delay = 4.0
    began = asyncio.get_running_loop().time()
    answer = await mesh.get(host.closed)
    assert answer.status_code == 503
    assert answer.text.startswith("UNAVAILABLE:")
    assert (await mesh.get(host.open)).status_code == 200
    assert 2.0 <= asyncio.get_running_loop().time() - began < 4.0  # a second each, and no second try


async def test_without_mixer_cached_answers_go_on_and_others_follow_the_fail_policy(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    for name in (host.closed, host.open):
        assert (await mesh.get(name, headers={"user": "known"})).status_code == 200
    await mixer.stop()
    try:
        assert (await mesh.get(host.closed, headers={"user": "known"})).status_code == 200
        refused = await mesh.get(host.closed, headers={"user": "new"})
        assert refused.status_code == 503
        assert refused.text.startswith("UNAVAILABLE:upstream connect error")
        assert (await mesh.get(host.open, headers={"user": "new"})).status_code == 200
    finally:
        await mixer.start()
    assert (await mesh.get(host.closed, headers={"user": "new"})).status_code == 200


async def test_mixer_killed_and_started_again_while_requests_flow(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", status_code=7 if bag["request.headers"]["user"] == "eve" else 0, message="h.n:no")
    seen: dict[str, list[int]] = {"known": [], "eve": [], "new": []}
    done = asyncio.Event()

    async def send(user: str, *, fresh: bool) -> None:
        number = 0
        while not done.is_set():
            number += 1
            name = f"{user}{number}" if fresh else user
            seen[user].append((await mesh.get(host.closed, headers={"user": name})).status_code)
            await asyncio.sleep(0.002)

    await mesh.get(host.closed, headers={"user": "known"})
    await mesh.get(host.closed, headers={"user": "eve"})
    async with asyncio.TaskGroup() as group:
        group.create_task(send("known", fresh=False))
        group.create_task(send("eve", fresh=False))
        group.create_task(send("new", fresh=True))
        await asyncio.sleep(0.2)
        await mixer.stop()
        await asyncio.sleep(0.3)
        await mixer.start()
        await asyncio.sleep(1)
        done.set()
    assert set(seen["known"]) == {200}
    assert set(seen["eve"]) == {403}
    assert set(seen["new"]) == {200, 503}
    assert seen["new"][0] == seen["new"][-1] == 200


async def test_an_idle_connection_that_mixer_closed_costs_no_request(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    for number in range(10):
        assert (await mesh.get(host.closed, headers={"user": str(number)})).status_code == 200
        await mixer.stop()
        await mixer.start()


async def test_a_client_that_leaves_while_mixer_is_asked_harms_nobody(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.delay = 0.3
    with pytest.raises(httpx.ReadTimeout):
        await mesh.client.get(f"http://127.0.0.1:{mesh.ports.plain}/", headers={"host": host.closed}, timeout=0.1)
    mixer.delay = 0.0
    assert (await mesh.get(host.closed)).status_code == 200


async def test_a_body_waits_for_the_answer_and_arrives_whole(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.delay = 0.1
    answer = await mesh.client.post(f"http://127.0.0.1:{mesh.ports.plain}/", headers={"host": host.closed}, content=b"x" * 200_000)
    assert answer.json()["body"] == 200_000


async def test_header_operations_change_request_and_response_also_from_the_cache(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    operations = (
        HeaderOperation("x-user", "mixer", Operation.REPLACE, response=False),
        HeaderOperation("cookie", "", Operation.REMOVE, response=False),
        HeaderOperation("x-more", "b", Operation.APPEND, response=False),
        HeaderOperation("x-secret", "", Operation.REMOVE, response=True),
        HeaderOperation("x-kept", "b", Operation.APPEND, response=True),
        HeaderOperation("x-new", "c", Operation.REPLACE, response=True),
    )
    mixer.decide = lambda bag, quotas: by("user", header_operations=operations)
    for _ in range(2):
        answer = await mesh.get(host.closed, headers={"x-user": "me", "cookie": "secret"})
        received = answer.json()["headers"]
        assert (received["x-user"], received["x-more"]) == ("mixer", "b")
        assert "cookie" not in received
        assert "x-secret" not in answer.headers
        assert (answer.headers.get_list("x-kept"), answer.headers["x-new"]) == (["a", "b"], "c")
    assert len(mixer.asked) == 1


async def test_a_direct_response_takes_the_place_of_the_application(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    headers = (HeaderOperation("location", "https://login", Operation.REPLACE, response=True),)
    mixer.decide = lambda bag, quotas: by("user", direct_response=DirectResponse(302, "go there", headers))
    for _ in range(2):
        answer = await mesh.get(host.closed)
        assert (answer.status_code, answer.text, answer.headers["location"]) == (302, "go there", "https://login")
    assert len(mixer.asked) == 1
