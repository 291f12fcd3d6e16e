# SPDX-License-Identifier: Apache-2.0
"""What Envoy remembers of Mixer's answers, for whom, how long and how often."""

from __future__ import annotations

import asyncio

import pytest

from mixer.attributes.bag import Referenced
from mixer.dispatch.result import CheckResult, Code
from tests.integration.mixer.conftest import Host
from tests.integration.mixer.data_plane import RATINGS, REVIEWS, Mesh
from tests.integration.mixer.scripted_mixer import ScriptedMixer, by


async def test_a_repeated_request_asks_nobody(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    await mesh.get(host.closed, headers={"user": "first"})  # a miss brings the counters of the worker up to date
    before = await mesh.counters("lua.mixer")
    for path in ("/a", "/b", "/a?c"):
        assert (await mesh.get(host.closed, path, {"user": "jason"})).status_code == 200
    assert len(mixer.asked) == 2
    await mesh.get(host.closed, headers={"user": "last"})
    after = await mesh.counters("lua.mixer")
    grown = {name.rpartition(".")[2]: after[name] - before.get(name, 0) for name in after}
    assert grown["total_check_calls"] == 4
    assert grown["total_check_cache_hits"] == 2
    assert grown["total_remote_check_calls"] == 2
    assert grown["errors"] == 0


async def test_an_answer_for_one_user_is_not_given_to_another(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by(
        "user", status_code=Code.PERMISSION_DENIED if bag["request.headers"]["user"] == "eve" else Code.OK
    )
    users = ["jason", "eve", "jason", "eve", "bob", "eve"]
    assert [(await mesh.get(host.closed, headers={"user": user})).status_code for user in users] == [200, 403, 200, 403, 200, 403]
    assert len(mixer.asked) == 3


async def test_absent_empty_and_dash_are_three_different_values(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    for _ in range(2):
        for headers in ({}, {"user": ""}, {"user": "-"}, {"user": "0:"}, {"user": "1:-"}):
            assert (await mesh.get(host.closed, headers=headers)).status_code == 200
    assert len(mixer.asked) == 5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": "x", "b": "y"}, {"a": "xy", "b": ""}),
        ({"a": "1:x", "b": "y"}, {"a": "1", "b": ":x1:y"}),
        ({"a": "x"}, {"b": "x"}),
        ({"a": "x-"}, {"a": "x"}),
    ],
)
async def test_values_never_run_into_each_other(
    mesh: Mesh, mixer: ScriptedMixer, host: Host, first: dict[str, str], second: dict[str, str]
) -> None:
    mixer.decide = lambda bag, quotas: by("a", "b")
    for headers in (first, second, first, second):
        await mesh.get(host.closed, headers=headers)
    assert len(mixer.asked) == 2


async def test_answers_of_different_shapes_live_side_by_side(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("token") if "token" in bag["request.headers"] else by("token", "user")
    requests = [{"token": "t", "user": "a"}, {"token": "t", "user": "b"}, {"user": "a"}, {"user": "b"}]
    for headers in requests * 2:
        await mesh.get(host.closed, headers=headers)
    assert len(mixer.asked) == 3


async def test_an_answer_lasts_as_long_as_mixer_says(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", valid_duration=1.0)
    await mesh.get(host.closed)
    await mesh.get(host.closed)
    assert len(mixer.asked) == 1
    await asyncio.sleep(1.05)
    await mesh.get(host.closed)
    assert len(mixer.asked) == 2


async def test_an_answer_past_half_its_life_is_renewed_by_one_request(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", valid_duration=4.0)
    await mesh.get(host.closed)
    await asyncio.sleep(2.1)
    mixer.decide = lambda bag, quotas: by("user", valid_duration=4.0, status_code=Code.PERMISSION_DENIED)
    assert [(await mesh.get(host.closed)).status_code for _ in range(3)] == [403, 403, 403]
    assert len(mixer.asked) == 2


async def test_an_answer_that_cannot_be_renewed_holds_to_its_end(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", valid_duration=4.0)
    await mesh.get(host.closed)
    await asyncio.sleep(2.1)
    await mixer.stop()
    try:
        assert [(await mesh.get(host.closed)).status_code for _ in range(3)] == [200, 200, 200]
        await asyncio.sleep(2)
        assert (await mesh.get(host.closed)).status_code == 503
    finally:
        await mixer.start()
    assert (await mesh.get(host.closed)).status_code == 200


async def test_an_answer_is_used_as_often_as_mixer_says(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", valid_use_count=3)
    for _ in range(8):
        await mesh.get(host.closed)
    assert len(mixer.asked) == 2  # each answer serves its own request and three more


@pytest.mark.parametrize(("duration", "uses"), [(0.0, 100), (60.0, 0)])
async def test_an_answer_without_duration_or_uses_is_not_kept(
    mesh: Mesh, mixer: ScriptedMixer, host: Host, duration: float, uses: int
) -> None:
    mixer.decide = lambda bag, quotas: by("user", valid_duration=duration, valid_use_count=uses)
    for _ in range(3):
        await mesh.get(host.closed)
    assert len(mixer.asked) == 3


async def test_an_answer_that_read_the_time_is_not_kept(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: CheckResult(referenced=(Referenced("request.time", None, True),))
    await mesh.get(host.closed)
    await mesh.get(host.closed)
    assert len(mixer.asked) == 2


async def test_an_answer_from_other_configuration_than_the_routes_is_not_kept(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    route_epoch, mixer.epoch = mixer.epoch, "newer"
    await mesh.get(host.closed)
    await mesh.get(host.closed)
    assert len(mixer.asked) == 2
    mixer.epoch = route_epoch
    await mesh.get(host.closed)
    await mesh.get(host.closed)
    assert len(mixer.asked) == 3


async def test_the_clients_certificate_is_part_of_the_key(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: CheckResult(
        status_code=Code.OK if bag.get("source.principal") == REVIEWS.principal else Code.PERMISSION_DENIED,
        referenced=(Referenced("source.principal", None, "source.principal" in bag),),
    )
    for _ in range(2):
        assert (await mesh.get_as_reviews(host.closed)).status_code == 200
        assert (await mesh.get(host.closed)).status_code == 403
    assert len(mixer.asked) == 2
    assert [bag["connection.mtls"] for bag in mixer.asked] == [True, False]
    assert set(mixer.reporters) == {RATINGS}


async def test_only_the_headers_that_mixer_reads_travel(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.headers = ["user"]
    await mesh.get(host.closed, headers={"user": "a", "cookie": "secret"})
    await mesh.get(host.closed, headers={"user": "b", "cookie": "secret"})
    assert mixer.asked[0]["request.headers"]["cookie"] == "secret"  # nothing is known yet, so everything is sent
    assert mixer.asked[1]["request.headers"] == {"user": "b"}
    mixer.headers, mixer.decide = ["user", "cookie"], lambda bag, quotas: by("user", "cookie")
    await mesh.get(host.closed, headers={"user": "c", "cookie": "secret"})
    assert mixer.asked[2]["request.headers"]["cookie"] == "secret"  # asked again at once, with all headers


async def test_attributes_describe_the_request(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    await mesh.get_as_reviews(host.closed, "/a/b?c=d&e=", {"content-type": "application/grpc+proto", "user-agent": "test"})
    (bag,) = mixer.asked
    expected = {
        "request.method": "GET",
        "request.path": "/a/b?c=d&e=",
        "request.url_path": "/a/b",
        "request.query_params": {"c": "d", "e": ""},
        "request.host": host.closed,
        "request.scheme": "http",
        "request.useragent": "test",
        "context.protocol": "grpc",
        "context.reporter.kind": "inbound",
        "connection.mtls": True,
        "source.principal": REVIEWS.principal,
        "source.namespace": "default",
        "source.ip": bytes([127, 0, 0, 1]),
        "destination.principal": RATINGS.principal,
        "destination.namespace": "default",
        "destination.port": mesh.ports.mesh,
        "destination.service.host": "ratings.default.svc.cluster.local",
        "destination.service.uid": "istio://default/services/ratings",
    }
    assert {name: bag.get(name) for name in expected} == expected


async def test_hosts_are_compared_without_case(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    await mesh.get(host.closed.upper())
    assert mixer.asked[0]["request.host"] == host.closed


async def test_a_client_may_only_name_a_service_that_is_served_there(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    for named in ("stars.default.svc.cluster.local", "bank.default.svc.cluster.local", ""):
        answer = await mesh.get(host.closed, headers={"x-istio-attributes": named, "user": named})
        assert "x-istio-attributes" not in answer.json()["headers"]
    assert [bag["destination.service.name"] for bag in mixer.asked] == ["stars", "ratings", "ratings"]


@pytest.mark.parametrize("unchecked", ["unchecked", "unknown"])
async def test_a_route_that_is_not_checked_still_strips_the_internal_header(mesh: Mesh, mixer: ScriptedMixer, unchecked: str) -> None:
    answer = await mesh.get(unchecked, headers={"x-istio-attributes": "stars.default.svc.cluster.local"})
    assert answer.status_code == 200
    assert "x-istio-attributes" not in answer.json()["headers"]
    assert mixer.asked == []


async def test_no_route_stays_404(mesh: Mesh, mixer: ScriptedMixer) -> None:
    assert (await mesh.get("nowhere")).status_code == 404
