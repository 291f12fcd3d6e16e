# SPDX-License-Identifier: Apache-2.0
"""Envoy as far as the order of discovery matters to it: clusters that warm until their endpoints come, routes that need live clusters,
acknowledgements that are withheld while clusters warm, refusals that apply nothing (`!`) or all but the bad ones (`?`), and virtual hosts that
are asked for once and applied to a route configuration together or not at all, no two with one domain."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from pilot.xds.requests import Request
from tests.unit.pilot.xds.worlds import CDS, DISCOVERED, EDS, LDS, RDS, SETS, TYPES, VHDS, Heard, route_of


class ModelEnvoy:
    """Takes responses, keeps what it accepts, and queues its requests in `says`."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self.says: deque[Request] = deque()
        self.held: dict[str, dict[str, str]] = {CDS: {}, EDS: {}, LDS: {}, RDS: {}, VHDS: {}}
        """Type -> name -> text, as accepted."""
        self.versions: dict[str, dict[str, str]] = {CDS: {}, EDS: {}, LDS: {}, RDS: {}, VHDS: {}}
        """What it says to hold when it reconnects: of virtual hosts all that it was ever told and not told to be gone, watched or not."""
        self.warming: set[str] = set()
        """New clusters without endpoints: a route to one fails."""
        self.owing: set[str] = set()
        """Clusters whose change must be followed by endpoints."""
        self.watched: dict[str, frozenset[str]] = {EDS: frozenset(), RDS: frozenset()}
        self.discovering: dict[str, bool] = {}
        """Route configurations whose virtual hosts it watches -> whether it was given any, until which their listeners warm."""
        self.late: set[str] = set()
        """Route configurations that were in a response which was refused as a whole."""
        self.nonces: dict[str, str] = {}
        self.withheld: deque[Request] = deque()
        self.excused: set[str] = set()
        """New clusters that came in a response which was refused as a whole, until they are live: nobody waits for the CDS answer,
        so routes to them may be there already."""
        self.started = self.discovers = False
        self.broken: list[str] = []
        """References to what is not there, at the moment when a request could have met them."""

    def connect(self, *, hosts_first: bool = False) -> None:
        """Ask for everything, as at the start or after a lost stream."""
        for name in [name for name in self.versions[VHDS] if route_of(name) in self.late and not self.discovering.get(route_of(name))]:
            # A route configuration was refused because of another, its virtual hosts came and found nobody, and the stream was lost when it
            # came again. Envoy says to hold them; Pilot cannot know better, nor call them removed before: Envoy may have taken part of it.
            del self.versions[VHDS][name]
        self.late.clear()
        self.says.clear()
        self.withheld.clear()
        self.nonces.clear()
        self.owing = {name for name in self.owing if name not in self.held[EDS]}  # the others warm up with the endpoints that Envoy caches
        for kind in (VHDS, CDS, EDS, LDS, RDS) if hosts_first else (CDS, EDS, LDS, RDS, VHDS):
            names = self.watched.get(kind, frozenset())
            if kind == CDS or (kind == LDS and self.started) or (kind == VHDS and self.discovers) or names:
                self._ask(kind, names, first=True)

    def hear(self, heard: Heard) -> None:
        self.nonces[heard.type] = heard.nonce
        texts = {name: _text(heard.type, body) for name, body in heard.bodies.items()}
        bad = {name for name, text in texts.items() if text.startswith(("!", "?"))}
        taken = {} if any(texts[name].startswith("!") for name in bad) else {name: text for name, text in texts.items() if name not in bad}
        whole_refused = bool(bad) and not taken
        untouched = set(self.discovering) if whole_refused else {route_of(name) for name in bad}
        if heard.type == RDS and whole_refused:
            self.late |= texts.keys()
        if heard.type == CDS and whole_refused:
            self.excused |= texts.keys() - self.held[CDS].keys()
        if heard.type == VHDS:
            bad |= self._apply_hosts(heard, texts, untouched, refused=bool(bad))
        else:
            self._apply(heard, taken, bad, nothing=whole_refused)
        names_them = heard.type in (CDS, LDS) and not whole_refused  # what Envoy applies one by one it also names
        answer = self._answer(heard, None if not bad else f"Error adding/updating {', '.join(sorted(bad))}" if names_them else "no")
        if heard.type == CDS and self.owing:
            self.withheld.append(answer)
        else:
            self.says.append(answer)
        if not self.owing:
            self.says.extend(self.withheld)
            self.withheld.clear()
        if not self.started and not self.owing:
            self.started = True
            self._ask(LDS, frozenset(), first=True)
        self._check()

    def _apply(self, heard: Heard, taken: Mapping[str, str], bad: set[str], *, nothing: bool) -> None:
        held, versions = self.held[heard.type], self.versions[heard.type]
        if not nothing and heard.type in (CDS, LDS):
            gone = set(heard.removed) if self.delta else set(held) - set(taken) - bad
            for name in gone & set(held):
                del held[name]
                versions.pop(name, None)
                if heard.type == CDS:
                    self.owing.discard(name)
                    self.warming.discard(name)
                    self.held[EDS].pop(name, None)
                    self.versions[EDS].pop(name, None)
        for name, text in taken.items():
            if heard.type == CDS and held.get(name) != text:
                if name not in held:
                    self.warming.add(name)
                self.owing.add(name)
            if heard.type in self.watched and name not in self.watched[heard.type]:
                continue  # nobody here waits for it
            if heard.type == EDS:
                self.owing.discard(name)
                self.warming.discard(name)
                self.excused.discard(name)
            held[name] = text
            versions[name] = heard.versions.get(name, "")
            if heard.type == RDS and text == DISCOVERED:
                self.discovering.setdefault(name, False)
                if not self.discovers:
                    self.discovers = True
                    self._ask(VHDS, frozenset(), first=True)
        if heard.type == CDS:
            self._watch(EDS, frozenset(self.held[CDS]))
        if heard.type == LDS:
            self._watch(RDS, frozenset(_last(text) for text in held.values()))

    def _apply_hosts(self, heard: Heard, texts: Mapping[str, str], untouched: set[str], *, refused: bool) -> set[str]:
        """Route configuration by route configuration but those `untouched`. Returns the hosts refused because two would have one domain."""
        held, versions = self.held[VHDS], self.versions[VHDS]
        clashing: set[str] = set()
        for route in self.discovering.keys() - untouched:
            new = {name: text for name, text in texts.items() if route_of(name) == route}
            after = {name: text for name, text in held.items() if route_of(name) == route and name not in heard.removed} | new
            if len({domain(text) for text in after.values()}) < len(after):
                clashing |= new.keys()
                continue
            for name in heard.removed:
                if route_of(name) == route:
                    held.pop(name, None)
            if new:
                held.update(new)
                self.discovering[route] = True
        if not (refused or clashing):
            versions.update(heard.versions)
            for name in heard.removed:
                versions.pop(name, None)
        return clashing

    def _watch(self, kind: str, names: frozenset[str]) -> None:
        before, self.watched[kind] = self.watched[kind], names
        if names == before:
            return
        for name in before - names:
            self.held[kind].pop(name, None)
            self.versions[kind].pop(name, None)
            if kind == RDS:
                self.discovering.pop(name, None)
                for host in [host for host in self.held[VHDS] if route_of(host) == name]:
                    del self.held[VHDS][host]
        if self.delta:
            self._change_interest(kind, names - before, before - names)
        else:
            self._ask(kind, names, first=kind not in self.nonces)

    def _change_interest(self, kind: str, more: frozenset[str], fewer: frozenset[str]) -> None:
        """What was dropped and is wanted again before that was said is asked for: Envoy has forgotten it."""
        last = self.says[-1] if self.says else None
        if last is not None and last.type_url == TYPES[kind] and not last.nonce and not last.known:
            self.says.pop()
            more, fewer = (last.subscribe - fewer) | more, (last.unsubscribe - more) | fewer
        self.says.append(Request(TYPES[kind], subscribe=SETS.intern(more), unsubscribe=SETS.intern(fewer)))

    def _ask(self, kind: str, names: frozenset[str], *, first: bool) -> None:
        chosen = SETS.intern(names)
        if self.delta:
            self.says.append(Request(TYPES[kind], subscribe=chosen, known=dict(self.versions[kind])))
        else:
            self.says.append(Request(TYPES[kind], names=chosen, nonce="" if first else self.nonces[kind]))

    def _answer(self, heard: Heard, error: str | None) -> Request:
        names = None if self.delta else SETS.intern(self.watched.get(heard.type, frozenset()))
        return Request(TYPES[heard.type], nonce=heard.nonce, error=error, names=names)

    def _check(self) -> None:
        for name, text in self.held[LDS].items():
            route = self.held[RDS].get(_last(text))
            if not route:
                continue  # still warming, or answered 404 on purpose
            if route != DISCOVERED:
                self._follow(f"listener {name} -> route {_last(text)}", _last(route))
            for host, led in self.held[VHDS].items():
                if route_of(host) == _last(text):
                    self._follow(f"listener {name} -> virtual host {host}", _last(led))

    def _follow(self, way: str, cluster: str) -> None:
        if cluster in self.excused:
            return
        if cluster not in self.held[CDS]:
            self.broken.append(f"{way} -> cluster {cluster}, which is not there")
        elif cluster in self.warming:
            self.broken.append(f"{way} -> cluster {cluster}, which is still warming")
        elif not self.held[EDS].get(cluster):
            self.broken.append(f"{way} -> cluster {cluster}, which has no endpoints")


def domain(text: str) -> str:
    """A virtual host's, in the place of a version."""
    return text.lstrip("!?").partition(":")[0]


def _last(text: str) -> str:
    return text.rpartition(":")[2]


def _text(kind: str, body: bytes) -> str:
    if kind == CDS:
        return Cluster.FromString(body).alt_stat_name
    if kind == EDS:
        assignment = ClusterLoadAssignment.FromString(body)
        return assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address if assignment.endpoints else ""
    if kind == LDS:
        return Listener.FromString(body).stat_prefix
    if kind == VHDS:
        return str(VirtualHost.FromString(body).domains[0])
    route = RouteConfiguration.FromString(body)
    if route.HasField("vhds"):
        return DISCOVERED
    return route.virtual_hosts[0].name if route.virtual_hosts else ""
