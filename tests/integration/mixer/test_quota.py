# SPDX-License-Identifier: Apache-2.0
"""Quota in Envoy: never more than Mixer granted, and fewer questions than requests when there is plenty."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from mixer.attributes.bag import Referenced
from mixer.dispatch.result import CheckResult, Code, QuotaRequest, QuotaResult
from tests.integration.mixer.conftest import Host
from tests.integration.mixer.data_plane import Mesh
from tests.integration.mixer.scripted_mixer import Bag, ScriptedMixer, by


class Window:
    """A quota with a fixed number of tokens for each value of some request headers."""

    def __init__(self, limit: int, *names: str, lasts: float = 5.0) -> None:
        self.limit, self.names, self.lasts = limit, names, lasts
        self.used: Counter[tuple[str | None, ...]] = Counter()
        self.seen: set[str] = set()

    def take(self, bag: Bag, request: QuotaRequest) -> QuotaResult:
        assert request.dedup_id
        assert request.dedup_id not in self.seen
        self.seen.add(request.dedup_id)
        key = tuple(bag["request.headers"].get(name) for name in self.names)
        left = self.limit - self.used[key]
        granted = min(left, request.amount) if request.best_effort else request.amount if request.amount <= left else 0
        self.used[key] += granted
        return QuotaResult(granted, self.lasts, tuple(Referenced("request.headers", name, True) for name in self.names))

    def decide(self, bag: Bag, quotas: Mapping[str, QuotaRequest]) -> CheckResult:
        return by(quotas={name: self.take(bag, request) for name, request in quotas.items()})


async def test_the_third_request_of_two_is_refused(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(2).decide
    answers = [await mesh.get(host.quota) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].text == "RESOURCE_EXHAUSTED:Quota is exhausted for: requests"


async def test_a_small_limit_is_asked_for_one_by_one(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(9).decide
    codes = [(await mesh.get(host.quota)).status_code for _ in range(12)]
    assert codes == [200] * 9 + [429] * 3
    assert {(asked["requests"].amount, asked["requests"].best_effort) for asked in mixer.quotas} == {(1, False)}


async def test_an_exhausted_quota_is_asked_for_again_a_little_later(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    window = Window(1)
    mixer.decide = window.decide
    assert [(await mesh.get(host.quota)).status_code for _ in range(4)] == [200, 429, 429, 429]
    assert len(mixer.asked) == 2
    window.used.clear()
    await asyncio.sleep(0.12)
    assert (await mesh.get(host.quota)).status_code == 200


async def test_a_large_limit_is_fetched_ahead_and_never_exceeded(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(200).decide
    codes = Counter([(await mesh.get(host.quota)).status_code for _ in range(250)])
    assert codes == {200: 200, 429: 50}
    assert len(mixer.asked) < 100


async def test_parallel_requests_never_exceed_the_limit(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    window = Window(120)
    mixer.decide, mixer.delay = window.decide, 0.01
    codes: Counter[int] = Counter()
    for _ in range(10):
        codes.update(answer.status_code for answer in await asyncio.gather(*(mesh.get(host.quota) for _ in range(20))))
    assert codes[200] <= 120
    assert codes[200] + codes[429] == 200
    assert window.used[()] >= codes[200]


async def test_fetched_tokens_end_with_their_window(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    window = Window(1000, lasts=1.0)
    mixer.decide = window.decide
    for _ in range(40):
        await mesh.get(host.quota)
    asked = len(mixer.asked)
    assert asked < 40
    await asyncio.sleep(1.05)
    await mesh.get(host.quota)
    assert len(mixer.asked) == asked + 1


async def test_quota_of_one_user_is_not_spent_by_another(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(1, "user").decide
    users = ["a", "b", "a", "b", "c"]
    assert [(await mesh.get(host.quota, headers={"user": user})).status_code for user in users] == [200, 200, 429, 429, 200]


async def test_rules_say_which_requests_are_charged_and_how_much(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(100).decide
    for user, path in (("jason", "/admin/x"), ("bob", "/admin"), ("jason", "/"), ("bob", "/")):
        assert (await mesh.get(host.other_quota, path, {"user": user})).status_code == 200
    charged = [{name: asked.amount for name, asked in quotas.items()} for quotas in mixer.quotas]
    assert charged == [{"a": 2, "b": 1}, {"b": 1}, {"b": 1}]  # the last request needs none, and the policy is known


async def test_a_regular_expression_is_compared_by_mixer_once(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(100).decide
    for user in ("team-1", "team-", "x-team-1", "team-1", "team-", "team-1"):
        assert (await mesh.get(host.other_quota, headers={"user": user})).status_code == 200
    assert len(mixer.reporters) - len(mixer.asked) == 3  # one comparison for each value
    assert [list(quotas) for quotas in mixer.quotas] == [["c"], ["c"], ["c"]]  # the others found the first answer


async def test_without_mixer_an_unknown_comparison_follows_the_fail_policy(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    await mixer.stop()
    try:
        assert (await mesh.get(host.other_quota, headers={"user": "team-77"})).status_code == 503
    finally:
        await mixer.start()


async def test_a_denied_request_spends_no_quota(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", status_code=Code.PERMISSION_DENIED, message="h.n:no")
    for _ in range(2):
        assert (await mesh.get(host.quota)).status_code == 403
    assert len(mixer.asked) == 1


async def test_a_quota_that_could_not_be_answered_does_not_block(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user")
    assert (await mesh.get(host.quota)).status_code == 200


async def test_without_mixer_a_needed_quota_follows_the_fail_policy(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = Window(5).decide
    assert (await mesh.get(host.quota)).status_code == 200
    await mixer.stop()
    try:
        assert (await mesh.get(host.quota)).status_code == 503
    finally:
        await mixer.start()
