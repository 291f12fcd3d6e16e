# SPDX-License-Identifier: Apache-2.0
"""Envoy as far as the order of discovery matters to it: clusters that warm until their endpoints come, routes that need live clusters,
acknowledgements that are withheld while clusters warm, and refusals that apply nothing (`!`) or all but the bad ones (`?`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from pilot.xds.requests import Request
from tests.unit.pilot.xds.worlds import CDS, EDS, LDS, RDS, SETS, TYPES, Heard


class ModelEnvoy:
    """Takes responses, keeps what it accepts, and queues its requests in `says`."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self.says: deque[Request] = deque()
        self.held: dict[str, dict[str, str]] = {CDS: {}, EDS: {}, LDS: {}, RDS: {}}
        """Type -> name -> text, as accepted."""
        self.versions: dict[str, dict[str, str]] = {CDS: {}, EDS: {}, LDS: {}, RDS: {}}
        self.warming: set[str] = set()
        """New clusters without endpoints: a route to one fails."""
        self.owing: set[str] = set()
        """Clusters whose change must be followed by endpoints."""
        self.watched: dict[str, frozenset[str]] = {EDS: frozenset(), RDS: frozenset()}
        self.nonces: dict[str, str] = {}
        self.withheld: deque[Request] = deque()
        self.excused: set[str] = set()
        """New clusters that came in a response which was refused as a whole, until they are live: nobody waits for the CDS answer,
        so routes to them may be there already."""
        self.started = False
        self.broken: list[str] = []
        """References to what is not there, at the moment when a request could have met them."""

    def connect(self) -> None:
        """Ask for everything, as at the start or after a lost stream."""
        self.says.clear()
        self.withheld.clear()
        self.nonces.clear()
        self.owing = {name for name in self.owing if name not in self.held[EDS]}  # the others warm up with the endpoints that Envoy caches
        for kind in (CDS, EDS, LDS, RDS):
            names = self.watched.get(kind, frozenset())
            if kind == CDS or (kind == LDS and self.started) or names:
                self._ask(kind, names, first=True)

    def hear(self, heard: Heard) -> None:
        self.nonces[heard.type] = heard.nonce
        texts = {name: _text(heard.type, body) for name, body in heard.bodies.items()}
        bad = {name for name, text in texts.items() if text.startswith(("!", "?"))}
        taken = {} if any(texts[name].startswith("!") for name in bad) else {name: text for name, text in texts.items() if name not in bad}
        whole_refused = bool(bad) and not taken
        if heard.type == CDS and whole_refused:
            self.excused |= texts.keys() - self.held[CDS].keys()
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
        if heard.type == CDS:
            self._watch(EDS, frozenset(self.held[CDS]))
        if heard.type == LDS:
            self._watch(RDS, frozenset(_last(text) for text in held.values()))

    def _watch(self, kind: str, names: frozenset[str]) -> None:
        before, self.watched[kind] = self.watched[kind], names
        if names == before:
            return
        for name in before - names:
            self.held[kind].pop(name, None)
            self.versions[kind].pop(name, None)
        if self.delta:
            self.says.append(Request(TYPES[kind], subscribe=SETS.intern(names - before), unsubscribe=SETS.intern(before - names)))
        else:
            self._ask(kind, names, first=kind not in self.nonces)

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
            cluster = _last(route)
            if cluster in self.excused:
                continue
            if cluster not in self.held[CDS]:
                self.broken.append(f"listener {name} -> route {_last(text)} -> cluster {cluster}, which is not there")
            elif cluster in self.warming:
                self.broken.append(f"listener {name} -> route {_last(text)} -> cluster {cluster}, which is still warming")
            elif not self.held[EDS].get(cluster):
                self.broken.append(f"listener {name} -> route {_last(text)} -> cluster {cluster}, which has no endpoints")


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
    route = RouteConfiguration.FromString(body)
    return route.virtual_hosts[0].name if route.virtual_hosts else ""
