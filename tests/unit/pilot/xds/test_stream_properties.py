# SPDX-License-Identifier: Apache-2.0
"""Whatever configuration does, however messages are delayed: no route at the proxy ever leads to a cluster that is not live there, and in
the end the proxy has the newest of everything that it does not refuse. Of some route configurations it discovers the virtual hosts."""

from __future__ import annotations

import os
from collections import deque
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pilot.xds.cache import Epoch
from pilot.xds.stream import Send, Stream
from tests.unit.pilot.xds.model_envoy import ModelEnvoy, domain
from tests.unit.pilot.xds.worlds import CDS, DISCOVERED, EDS, LDS, RDS, SETS, VHDS, World, WorldGenerator, decode, route_of

CLUSTERS, ROUTES, LISTENERS = "abcd", "rs", "lm"
PORTS, HOSTS = "78", {"x": "12", "y": "23", "z": "34"}
"""Route configurations of which virtual hosts are discovered, and these with the domains that they may have. They can take each other's, but not
trade them, which they could not do one by one. Each route configuration has one more virtual host, that is always there and right."""


@st.composite
def worlds(draw: st.DrawFn, *, refusals: bool, discovery: bool) -> World:
    """Consistent configuration: routes lead to clusters that exist and have endpoints. With `refusals`, Envoy refuses some of the rest."""
    names = draw(st.sets(st.sampled_from(CLUSTERS), min_size=1))
    clusters = {name: draw(st.sampled_from("123")) for name in sorted(names)}

    def target(version: str) -> str:
        refusal = draw(st.sampled_from(["", "", "", "!", "?"])) if refusals else ""
        return f"{refusal}{version}:{draw(st.sampled_from(sorted(names)))}"

    routes = {name: target(draw(st.sampled_from("12"))) for name in ROUTES}
    ports = PORTS if discovery else ""
    hosts = {}
    for port in ports:
        taken: set[str] = set()
        for name, domains in HOSTS.items():
            if draw(st.sampled_from([True, True, False])):
                chosen = draw(st.sampled_from([each for each in domains if each not in taken]))
                taken.add(chosen)
                hosts[f"{port}/{name}"] = target(chosen)
    hosts |= {f"{port}/*": f"*:{draw(st.sampled_from(sorted(names)))}" for port in ports}
    used = {text.rpartition(":")[2] for text in (*routes.values(), *hosts.values())}
    routes |= dict.fromkeys(ports, DISCOVERED)
    for name in sorted(names - used) if refusals else ():
        clusters[name] = draw(st.sampled_from(["", "", "!", "?"])) + clusters[name]
    listeners = {
        name: f"{draw(st.sampled_from('12'))}:{draw(st.sampled_from(ROUTES + ports + ports))}" for name in LISTENERS if draw(st.booleans())
    }
    return World(clusters, {name: f"10.0.0.{draw(st.integers(1, 3))}" for name in clusters}, listeners, routes, hosts)


class Conversation(RuleBasedStateMachine):
    """Messages of both directions travel one at a time, when Hypothesis says so."""

    delta: bool
    refusals: bool

    def __init__(self) -> None:
        super().__init__()
        self.generator = WorldGenerator()
        self.now = 0.0
        self.to_proxy: deque[Send] = deque()
        self.pushes: dict[str, list[float]] = {}

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        world = data.draw(worlds(refusals=self.refusals, discovery=self.delta))
        self.epoch: Epoch[World, str] = Epoch(world, self.generator, version="1", check=True)
        self.envoy = ModelEnvoy(delta=self.delta)
        self.connect()

    def connect(self, *, hosts_first: bool = False) -> None:
        self.to_proxy.clear()
        self.pushes.clear()
        self.stream: Stream[World, str] = Stream("proxy", self.epoch, delta=self.delta, sets=SETS)
        self.envoy.connect(hosts_first=hosts_first)

    @rule(data=st.data())
    def configuration_changes(self, data: st.DataObject) -> None:
        self.change(data.draw(worlds(refusals=self.refusals, discovery=self.delta)))

    def change(self, world: World) -> None:
        self.epoch = Epoch(world, self.generator, version=str(self.epoch.number + 1), previous=self.epoch, check=True)
        self.stream.offer(self.epoch)

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.1, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += min(seconds, 0.1) if self.envoy.says else seconds  # what a proxy has said is not under way for seconds

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
        if hasattr(self, "envoy") and not self.refusals:
            assert not self.envoy.broken, self.envoy.broken

    @invariant()
    def nothing_is_refused_that_is_right(self) -> None:
        if hasattr(self, "stream") and not self.refusals:
            assert not any(subscription.trouble for subscription in self.stream.subscriptions.values())

    @invariant()
    def pushes_keep_their_distance(self) -> None:
        for times in self.pushes.values():
            assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in pairwise(times))

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
        watched = {name for name, text in held[RDS].items() if text == DISCOVERED}
        hosts = {name: text for name, text in world.hosts.items() if route_of(name) in watched}
        right = {name: text for name, text in hosts.items() if text[0] not in "!?"}
        for name in hosts.keys() - right.keys():  # what it had before is still there, and still has its domain
            kept = {(route_of(name), domain(held[VHDS][name]))} if name in held[VHDS] else set()
            right = {name: text for name, text in right.items() if (route_of(name), domain(text)) not in kept}
        assert all(self.envoy.discovering[name] for name in watched), "no listener warms for ever"
        assert {name: held[VHDS].get(name) for name in right} == right
        assert held[VHDS].keys() <= hosts.keys(), "what is gone is removed in the end, whatever is refused beside it"
        for name in good:
            assert held[EDS][name] == world.endpoints[name]
        if not any(subscription.trouble for subscription in self.stream.subscriptions.values()):
            assert held[CDS].keys() <= world.clusters.keys(), "what is gone is removed in the end"


class Reconnecting(Conversation):
    """Delta only: in state-of-the-world nobody can tell what the proxy holds, so a removal at that moment is not safe."""

    @rule(hosts_first=st.booleans())
    def the_stream_is_lost(self, hosts_first: bool) -> None:
        self.connect(hosts_first=hosts_first)


class Delta(Reconnecting):
    delta, refusals = True, False


class StateOfTheWorld(Conversation):
    delta, refusals = False, False


class DeltaWithRefusals(Reconnecting):
    """Where responses are refused as a whole, order cannot keep every promise (nobody waits for the CDS answer); the end is right all the same."""

    delta, refusals = True, True


class StateOfTheWorldWithRefusals(Conversation):
    delta, refusals = False, True


SETTINGS = settings(
    max_examples=int(os.environ.get("EXAMPLES", "25")), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDelta = Delta.TestCase
TestStateOfTheWorld = StateOfTheWorld.TestCase
TestDeltaWithRefusals = DeltaWithRefusals.TestCase
TestStateOfTheWorldWithRefusals = StateOfTheWorldWithRefusals.TestCase
for _machine in (TestDelta, TestStateOfTheWorld, TestDeltaWithRefusals, TestStateOfTheWorldWithRefusals):
    _machine.settings = SETTINGS
del _machine
