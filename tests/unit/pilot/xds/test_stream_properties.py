# SPDX-License-Identifier: Apache-2.0
"""Whatever configuration does, however messages are delayed: no route at the proxy ever leads to a cluster that is not live there, and in
the end the proxy has the newest of everything that it does not refuse."""

from __future__ import annotations

import os
from collections import deque

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pilot.xds.cache import Epoch
from pilot.xds.stream import Send, Stream
from tests.unit.pilot.xds.model_envoy import ModelEnvoy
from tests.unit.pilot.xds.worlds import CDS, EDS, LDS, RDS, SETS, World, WorldGenerator, decode

CLUSTERS, ROUTES, LISTENERS = "abcd", "rs", "lm"


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Consistent configuration: routes lead to clusters that exist and have endpoints, and are never refused; the rest may be anything."""
    names = draw(st.sets(st.sampled_from(CLUSTERS), min_size=1))
    clusters = {name: draw(st.sampled_from("123")) for name in sorted(names)}
    routes = {}
    for name in ROUTES:
        refusal = draw(st.sampled_from(["", "", "", "!", "?"]))
        routes[name] = f"{refusal}{draw(st.sampled_from('12'))}:{draw(st.sampled_from(sorted(names)))}"
    used = {text.rpartition(":")[2] for text in routes.values()}
    for name in sorted(names - used):
        clusters[name] = draw(st.sampled_from(["", "", "!", "?"])) + clusters[name]
    listeners = {name: f"{draw(st.sampled_from('12'))}:{draw(st.sampled_from(ROUTES))}" for name in LISTENERS if draw(st.booleans())}
    return World(clusters, {name: f"10.0.0.{draw(st.integers(1, 3))}" for name in clusters}, listeners, routes)


class Conversation(RuleBasedStateMachine):
    """Messages of both directions travel one at a time, when Hypothesis says so."""

    delta: bool

    def __init__(self) -> None:
        super().__init__()
        self.generator = WorldGenerator()
        self.now = 0.0
        self.to_proxy: deque[Send] = deque()
        self.pushes: dict[str, list[float]] = {}

    @initialize(world=worlds())
    def start(self, world: World) -> None:
        self.epoch: Epoch[World, str] = Epoch(world, self.generator, version="1", check=True)
        self.envoy = ModelEnvoy(delta=self.delta)
        self.connect()

    def connect(self) -> None:
        self.to_proxy.clear()
        self.pushes.clear()
        self.stream: Stream[World, str] = Stream("proxy", self.epoch, delta=self.delta, sets=SETS)
        self.envoy.connect()

    @rule(world=worlds())
    def configuration_changes(self, world: World) -> None:
        self.epoch = Epoch(world, self.generator, version=str(self.epoch.number + 1), previous=self.epoch, check=True)
        self.stream.offer(self.epoch)

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.1, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_wire_is_free(self) -> None:
        self.write()

    def write(self) -> bool:
        send = self.stream.next(self.now)
        self.stream.notices()
        if send is None:
            return False
        if send.unasked and not any(sub.trouble for sub in self.stream.subscriptions.values()):
            self.pushes.setdefault(send.type_url, []).append(self.now)
        self.to_proxy.append(send)
        return True

    @precondition(lambda self: self.to_proxy)
    @rule()
    def the_proxy_hears(self) -> None:
        self.envoy.hear(decode(self.to_proxy.popleft(), delta=self.delta))

    @precondition(lambda self: self.envoy.says)
    @rule()
    def the_proxy_is_heard(self) -> None:
        self.stream.receive(self.envoy.says.popleft(), self.now)

    @invariant()
    def no_reference_leads_nowhere(self) -> None:
        if hasattr(self, "envoy"):
            assert not self.envoy.broken, self.envoy.broken

    @invariant()
    def pushes_keep_their_distance(self) -> None:
        for times in self.pushes.values():
            assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in zip(times, times[1:], strict=False))

    @rule()
    def everything_comes_to_rest(self) -> None:
        for _ in range(400):
            moved = False
            while self.envoy.says:
                self.the_proxy_is_heard()
                moved = True
            while self.write():
                moved = True
            while self.to_proxy:
                self.the_proxy_hears()
                moved = True
            if not moved:
                if self.stream.wake_at == float("inf"):
                    break
                self.now = max(self.now, self.stream.wake_at)
        else:
            raise AssertionError("it never comes to rest: a push loop")
        self.no_reference_leads_nowhere()
        world = self.epoch.push
        held = self.envoy.held
        good = {name: text for name, text in world.clusters.items() if text[0] not in "!?"}
        assert {name: held[CDS].get(name) for name in good} == good
        assert held[LDS] == dict(world.listeners)
        for text in world.listeners.values():
            route = world.routes[text.rpartition(":")[2]]
            if route[0] not in "!?":
                assert held[RDS][text.rpartition(":")[2]] == route
        for name in good:
            assert held[EDS][name] == world.endpoints[name]
        if not any(subscription.trouble for subscription in self.stream.subscriptions.values()):
            assert held[CDS].keys() <= world.clusters.keys(), "what is gone is removed in the end"


class DeltaConversation(Conversation):
    delta = True

    @rule()
    def the_stream_is_lost(self) -> None:
        self.connect()


class StateOfTheWorldConversation(Conversation):
    """Its reconnection is not among the rules: what the proxy holds cannot be told in this variant, so removal at that moment is not safe."""

    delta = False


PHASES: dict[str, object] = {"phases": [Phase.generate]} if os.environ.get("FAST") else {}
SETTINGS = settings(
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    stateful_step_count=int(os.environ.get("STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    **PHASES,
)
TestDelta = DeltaConversation.TestCase
TestDelta.settings = SETTINGS
TestStateOfTheWorld = StateOfTheWorldConversation.TestCase
TestStateOfTheWorld.settings = SETTINGS
