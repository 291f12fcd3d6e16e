# SPDX-License-Identifier: Apache-2.0
"""Leases told by a clock that the test turns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.kinds.networking import WorkloadEntry
from galley.store.leases import GRACE_SECONDS, LEASE_SECONDS, HeldByAnotherError, Leases, Registered, TooManyError
from galley.store.workloads import PROXY_VERSION, REGISTERED, Workloads
from tests.unit.galley.store.worlds import opened


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def register(
    leases: Leases,
    name: str = "reviews-1",
    *,
    account: str = "reviews",
    healthy: bool = True,
    address: str = "10.0.0.1",
    proxy_version: str = "",
) -> Registered:
    spec = WorkloadEntry(address=address, serviceAccount=account)
    return leases.register(
        namespace="default", name=name, spec=spec, healthy=healthy, at="2026-01-01T00:00:00Z", proxy_version=proxy_version
    )


def visible(leases: Leases) -> set[str]:
    return {name for _, name in leases.visible}


def test_a_workload_is_visible_while_it_beats_and_is_healthy(clock: Clock) -> None:
    leases = Leases(clock)
    lease = register(leases).lease
    for _ in range(10):
        clock.now += LEASE_SECONDS - 0.1
        assert leases.heartbeat(lease, healthy=True)
    assert visible(leases) == {"reviews-1"}
    assert leases.serial == 1, "heartbeats are no changes"


def test_an_unhealthy_workload_leaves_in_that_call_and_comes_back(clock: Clock) -> None:
    leases = Leases(clock)
    lease = register(leases).lease
    first = leases.visible[("default", "reviews-1")].serial
    leases.heartbeat(lease, healthy=False)
    assert visible(leases) == set()
    leases.heartbeat(lease, healthy=True)
    assert leases.visible[("default", "reviews-1")].serial > first


def test_a_workload_that_starts_unhealthy_is_not_shown(clock: Clock) -> None:
    leases = Leases(clock)
    register(leases, healthy=False)
    assert (visible(leases), leases.serial, list(leases.known)) == (set(), 0, [("default", "reviews-1")])


def test_without_heartbeats_the_lease_runs_out(clock: Clock) -> None:
    leases = Leases(clock)
    lease = register(leases).lease
    assert leases.next_deadline() == clock.now + LEASE_SECONDS
    clock.now += LEASE_SECONDS - 0.01
    assert leases.expire() == []
    clock.now += 0.01
    assert [w.name for w in leases.expire()] == ["reviews-1"]
    assert visible(leases) == set()
    assert not leases.heartbeat(lease, healthy=True), "it must register again"
    assert leases.next_deadline() is None


def test_a_heartbeat_that_comes_too_late_does_not_revive(clock: Clock) -> None:
    leases = Leases(clock)
    lease = register(leases).lease
    clock.now += LEASE_SECONDS
    assert not leases.heartbeat(lease, healthy=True)


def test_deregistering_ends_it_at_once_and_only_once(clock: Clock) -> None:
    leases = Leases(clock)
    lease = register(leases).lease
    assert leases.deregister(lease)
    assert visible(leases) == set()
    assert not leases.deregister(lease)


def test_a_restarted_agent_takes_its_name_over_and_the_old_lease_is_dead(clock: Clock) -> None:
    leases = Leases(clock)
    old = register(leases).lease
    new = register(leases, address="10.0.0.2").lease
    assert not leases.heartbeat(old, healthy=True)
    assert not leases.deregister(old)
    assert leases.heartbeat(new, healthy=True)
    assert leases.visible[("default", "reviews-1")].workload.spec.address == "10.0.0.2"


def test_registering_again_unchanged_is_no_change_for_others(clock: Clock) -> None:
    leases = Leases(clock)
    register(leases)
    serial = leases.serial
    register(leases)
    assert leases.serial == serial


def test_another_version_of_the_proxy_is_a_change(clock: Clock) -> None:
    leases = Leases(clock)
    register(leases, proxy_version="1.0")
    serial = leases.serial
    lease = register(leases, proxy_version="1.1").lease
    assert (leases.serial, leases.visible["default", "reviews-1"].workload.proxy_version) == (serial + 1, "1.1")
    leases.heartbeat(lease, healthy=False)
    leases.heartbeat(lease, healthy=True)
    assert leases.visible["default", "reviews-1"].workload.proxy_version == "1.1"


def test_another_account_cannot_take_a_name_while_it_is_leased(clock: Clock) -> None:
    leases = Leases(clock)
    register(leases)
    with pytest.raises(HeldByAnotherError, match="reviews"):
        register(leases, account="thief")
    clock.now += LEASE_SECONDS
    assert register(leases, account="heir").spec.serviceAccount == "heir"


def test_after_our_own_restart_leases_run_for_the_grace(clock: Clock) -> None:
    before = Leases(clock)
    kept, silent = register(before), register(before, "reviews-2")
    leases = Leases(clock)
    leases.restore(before.known.values())
    assert visible(leases) == {"reviews-1", "reviews-2"}
    clock.now += GRACE_SECONDS - 0.1
    assert leases.heartbeat(kept.lease, healthy=True), "a lease of the run before is still good"
    clock.now += 0.1
    assert [w.name for w in leases.expire()] == [silent.name]
    assert visible(leases) == {"reviews-1"}


actions: Any = st.lists(
    st.tuples(
        st.sampled_from(["register", "sick", "beat", "leave", "wait", "expire"]), st.sampled_from(["a", "b"]), st.floats(0, LEASE_SECONDS)
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(actions)
def test_what_is_visible_is_what_beat_healthily_within_a_lease(history: Any) -> None:
    clock, leases, model, held = Clock(), Leases(Clock()), dict[str, tuple[float, bool]](), dict[str, str]()
    leases = Leases(clock)
    for action, name, pause in history:
        clock.now += pause if action == "wait" else 0
        model = {n: (until, healthy) for n, (until, healthy) in model.items() if until > clock.now}
        if action == "register":
            held[name] = register(leases, name).lease
            model[name] = (clock.now + LEASE_SECONDS, True)
        elif action in ("beat", "sick") and name in held:
            assert leases.heartbeat(held[name], healthy=action == "beat") is (name in model)
            if name in model:
                model[name] = (clock.now + LEASE_SECONDS, action == "beat")
        elif action == "leave" and name in held:
            leases.deregister(held[name])
            model.pop(name, None)
        leases.expire()
        assert visible(leases) == {n for n, (_, healthy) in model.items() if healthy}


class TestPersistence:
    async def test_a_restarted_galley_knows_its_workloads(self, tmp_path: Path, clock: Clock) -> None:
        async with opened(tmp_path) as store:
            workloads = await Workloads.open(store.writer, start=store.start, clock=clock)
            heard: list[str] = []
            workloads.subscribe(lambda: heard.append(workloads.version))
            running = asyncio.create_task(workloads.run())
            await asyncio.sleep(0)
            for name, proxy_version in (("a", ""), ("b", "1.2.3"), ("c", "")):
                register(workloads.leases, name, proxy_version=proxy_version)
            sick = register(workloads.leases, "d")
            workloads.leases.heartbeat(sick.lease, healthy=False)
            workloads.leases.deregister(workloads.leases.known[("default", "c")].lease)
            workloads.changed()
            assert len(heard) == 1
            version = workloads.version
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        async with opened(tmp_path) as store:
            again = await Workloads.open(store.writer, start=store.start, clock=clock)
            assert {r.name for r in again.resources()} == {"a", "b"}
            assert set(again.leases.known) == {("default", n) for n in "abd"}
            assert again.version != version, "never the same version for what another run said"
            resource = again.get(("default", "a"))
            assert resource is not None
            assert resource.metadata.annotations == {REGISTERED: "true"}, "an agent that says no version"
            with_version = again.get(("default", "b"))
            assert with_version is not None
            assert with_version.metadata.annotations == {REGISTERED: "true", PROXY_VERSION: "1.2.3"}
            assert resource.metadata.resourceVersion.startswith(f"{store.start}.")

    async def test_expiry_needs_nobody_to_ask(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as store:
            workloads = await Workloads.open(store.writer, start=store.start)
            workloads.leases._lease = 0.1
            gone = asyncio.Event()
            running = asyncio.create_task(workloads.run())
            register(workloads.leases)
            workloads.changed()
            workloads.subscribe(lambda: gone.set() if not workloads.leases.visible else None)
            await asyncio.wait_for(gone.wait(), 3)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        async with opened(tmp_path) as store:
            assert not (await Workloads.open(store.writer, start=store.start)).leases.known


@pytest.mark.parametrize("turns", range(5))
async def test_the_end_is_not_missed_while_something_changes(tmp_path: Path, turns: int) -> None:
    async with opened(tmp_path) as store:
        workloads = await Workloads.open(store.writer, start=store.start)
        register(workloads.leases)
        running = asyncio.create_task(workloads.run())
        while workloads.leases.dirty or workloads._wake.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        workloads._wake.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=2)
        assert done, "cancelled, and still there"


def test_one_account_cannot_take_all_the_room(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("galley.store.leases.MOST_OF_AN_ACCOUNT", 2)
    leases = Leases(clock)
    first, _ = register(leases, "a"), register(leases, "b")
    with pytest.raises(TooManyError, match="reviews has 2"):
        register(leases, "c")
    register(leases, "c", account="ratings")
    first = register(leases, "a")  # an agent that was restarted
    leases.deregister(first.lease)
    register(leases, "d")
    with pytest.raises(TooManyError):
        register(leases, "e")
    clock.now += LEASE_SECONDS
    register(leases, "e")
