# SPDX-License-Identifier: Apache-2.0
"""Resources as framed bytes, each made once for all streams.

* `Wire`: the bytes of one resource, framed as an entry of a response; `Framed`: such a resource in a group, with its sources.
* `Part`: resources to send and names that are gone, joined once and sent to everyone who needs them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from common.mesh.names import TYPE_CLUSTER
from pilot.xds.framing import delta_resource, is_name_only, sotw_resource, text

if TYPE_CHECKING:
    from common.config.resource import ResourceKey


class Wire:
    """The bytes of one resource as an entry of a delta response, kept once for all groups that hold the same. The body is a slice of them.

    A thousand clusters are alike in all namespaces, and second copies are most of what Pilot would keep in memory.
    """

    __slots__ = ("__weakref__", "_end", "_start", "delta", "eds_name", "name_only", "version")

    def __init__(self, type_url: str, name: str, version: str, body: bytes) -> None:
        self.version = version
        self.delta = delta_resource(type_url, name, version, body)
        self._end = len(self.delta) - len(text(3, name))
        self._start = self._end - len(body)
        self.eds_name = _eds_name(name, body) if type_url == TYPE_CLUSTER else None
        self.name_only = is_name_only(body, name)

    @property
    def body(self) -> bytes:
        return self.delta[self._start : self._end]

    def holds(self, body: bytes) -> bool:
        """Whether this is its body; compares without a copy."""
        return self._end - self._start == len(body) and self.delta.startswith(body, self._start)


_wires: WeakValueDictionary[tuple[str, str, str], Wire] = WeakValueDictionary()


def _wire(type_url: str, name: str, body: bytes) -> Wire:
    """The one object with these bytes. Two threads at once may make two, which costs memory and nothing else."""
    version = hashlib.blake2b(body, digest_size=8).hexdigest()
    key = (type_url, name, version)
    known = _wires.get(key)
    if known is not None and known.holds(body):
        return known
    wire = _wires[key] = Wire(type_url, name, version, body)
    return wire


class Framed:
    """One resource of a group, with what it was made of."""

    __slots__ = ("name", "sources", "type_url", "wire")

    def __init__(self, type_url: str, name: str, body: bytes, sources: tuple[ResourceKey, ...]) -> None:
        self.type_url, self.name, self.sources = type_url, name, sources
        self.wire = _wire(type_url, name, body)

    @property
    def version(self) -> str:
        """A hash of the body, so it is equal in every process and across restarts."""
        return self.wire.version

    @property
    def eds_name(self) -> str | None:
        """Clusters: the name by which Envoy will ask for the endpoints; None when they are not discovered."""
        return self.wire.eds_name

    @property
    def name_only(self) -> bool:
        """It only says that nothing is known under this name."""
        return self.wire.name_only

    @property
    def body(self) -> bytes:
        """The message; a copy, which nobody should keep."""
        return self.wire.body

    @property
    def sotw(self) -> bytes:
        """As an entry of a state-of-the-world response, made anew each time: parts keep what they join."""
        return sotw_resource(self.type_url, self.wire.body)

    def __repr__(self) -> str:
        return f"Framed({self.name}@{self.version})"


def _eds_name(name: str, body: bytes) -> str | None:
    cluster = Cluster.FromString(body)
    if cluster.WhichOneof("cluster_discovery_type") != "type" or cluster.type != Cluster.EDS:
        return None
    return cluster.eds_cluster_config.service_name or name


class Part:
    """Resources to send and names that are gone."""

    __slots__ = ("_delta", "_eds_names", "_sotw", "frames", "removed")

    def __init__(self, frames: tuple[Framed, ...], removed: tuple[str, ...] = ()) -> None:
        self.frames, self.removed = frames, removed
        self._delta: bytes | None = None
        self._sotw: bytes | None = None
        self._eds_names: frozenset[str] | None = None

    @property
    def delta(self) -> bytes:
        if self._delta is None:
            self._delta = b"".join([frame.wire.delta for frame in self.frames])
        return self._delta

    def forget(self) -> None:
        """Drop what was joined, unless it is only a reference to the one resource."""
        if len(self.frames) > 1:
            self._delta = self._sotw = None

    @property
    def sotw(self) -> bytes:
        if self._sotw is None:
            self._sotw = b"".join([frame.sotw for frame in self.frames])
        return self._sotw

    @property
    def eds_names(self) -> frozenset[str]:
        """Of clusters: the endpoints that Envoy needs again after this."""
        if self._eds_names is None:
            self._eds_names = frozenset(frame.eds_name for frame in self.frames if frame.eds_name)
        return self._eds_names

    def __bool__(self) -> bool:
        return bool(self.frames or self.removed)
