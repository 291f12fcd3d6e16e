# SPDX-License-Identifier: Apache-2.0
"""Resources as framed bytes, each made once for all streams.

* `Wire`: the bytes of one resource, framed as an entry of a response; `Framed`: such a resource in a group, with its sources.
* `Group`: the resources of one `GroupKey`. It stays the same object for as long as its content stays the same.
* `View`: the groups that make up one type for one proxy. Proxies with equal plans share one object.
* `Part`: what changed between two groups or views, joined once and sent to everyone who makes that step.
* `Epoch`: one snapshot with everything that was made from it. The next epoch takes over what did not change.

Because unchanged things keep their identity, asking whether a stream needs a push is one `is` for each type.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple
from weakref import WeakValueDictionary

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.xds.framing import delta_resource, delta_response, is_name_only, sotw_resource, sotw_response, text
from pilot.xds.generator import Generator, Grounded, Proxy, Push

if TYPE_CHECKING:
    from common.config.resource import ResourceKey
    from pilot.networking.generator import Generated, GroupKey

MOST_PARTS = 4
MOST_REMEMBERED = 20_000  # steps and small responses of one epoch; proxies that come and go must not fill the memory
FORGET_AFTER = 8  # epochs in which no stream asked for a group
LOOK_AGAIN = 64  # epochs after which even unchanged types are looked at, so that what departed proxies needed is forgotten
SHARED = frozenset({TYPE_CLUSTER, TYPE_VIRTUAL_HOST})
"""Types of which namespaces mostly have the same resources."""
TYPES = (TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST)


class ImpureGenerator(AssertionError):
    """Assertion mode found a key that gave two values for one fingerprint: the fingerprint misses something that the output depends on."""


class Wire:
    """The bytes of one resource as an entry of a delta response, kept once for all groups that hold the same. The body is a slice of them.

    A thousand clusters are alike in all namespaces, and a listener holds 60 KB: second copies are most of what Pilot would keep in memory.
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


class Group:
    """The resources of one key. `content` is a Part, so that sending a whole group costs no join; groups with the same resources share it."""

    __slots__ = ("_sources", "asked", "content", "fingerprint", "key", "resources")

    def __init__(
        self, key: GroupKey, fingerprint: Hashable, resources: Mapping[str, Framed], asked: int, content: Part | None = None
    ) -> None:
        self.key, self.fingerprint, self.resources, self.asked = key, fingerprint, resources, asked
        self.content = content if content is not None else Part(tuple(resources.values()))
        self._sources: frozenset[ResourceKey] | None = None

    @property
    def sources(self) -> frozenset[ResourceKey]:
        """All objects that its resources were made of."""
        if self._sources is None:
            self._sources = frozenset(source for frame in self.content.frames for source in frame.sources)
        return self._sources

    def same_content(self, fingerprint: Hashable, made: Made) -> Group:
        """It was generated again and came out equal, maybe from other objects."""
        self.fingerprint = fingerprint
        if made.resources is not self.resources:
            self.resources, self.content, self._sources = made.resources, made.content, None
        return self


class Made(NamedTuple):
    """What generating gave, with the frames of the known resources where these are the same."""

    generated: tuple[Generated, ...]
    known: Mapping[str, Framed]
    """The first two are only kept alive: their ids are this one's key."""
    resources: Mapping[str, Framed]
    content: Part
    is_same: bool
    """The bytes of all resources are those of the known ones."""


class View:
    """What one proxy should have of one type."""

    __slots__ = ("_index", "groups")

    def __init__(self, groups: tuple[Group, ...]) -> None:
        self.groups = groups
        self._index: dict[str, Framed] | None = None

    def get(self, name: str) -> Framed | None:
        if len(self.groups) > 4:
            return self.index.get(name)
        for group in self.groups:
            frame = group.resources.get(name)
            if frame is not None:
                return frame
        return None

    @property
    def index(self) -> Mapping[str, Framed]:
        """All resources by name. If two groups have a name, the first one's counts."""
        if self._index is None:
            self._index = {}
            for group in reversed(self.groups):
                self._index.update(group.resources)
        return self._index

    def __iter__(self) -> Iterator[Framed]:
        return itertools.chain.from_iterable(group.content.frames for group in self.groups)

    def __len__(self) -> int:
        return sum(len(group.resources) for group in self.groups)


_NO_RESOURCES: Mapping[str, Framed] = {}
NOTHING = View(())
OnError = Callable[["GroupKey", Exception], None]


class Response:
    """A response that many streams may share: the same bytes object is written to each."""

    __slots__ = ("nonce", "payload")

    def __init__(self, nonce: str, payload: bytes) -> None:
        self.nonce, self.payload = nonce, payload


class Epoch(Generic[Push, Proxy]):
    """One snapshot and what was generated from it.

    Build it with the epoch before (`previous`), fill it with `view` for whatever is in use (in a worker thread if you like), then offer it
    to the streams. Only one thread may use an epoch at a time.
    """

    def __init__(
        self,
        push: Push,
        generator: Generator[Push, Proxy],
        *,
        version: str,
        previous: Epoch[Push, Proxy] | None = None,
        created: float = 0.0,
        check: bool = False,
        on_error: OnError | None = None,
    ) -> None:
        self.push, self.version, self.created = push, version, created
        """`created` is the clock time in seconds at which the change arrived that made this epoch."""
        self.number: int = previous.number + 1 if previous is not None else 1
        self._generator, self._check, self._on_error = generator, check, on_error
        self._bases: dict[str, Hashable] = {}
        self.unchanged = self._unchanged(previous)
        """Types of which no view differs from the epoch before."""
        self._groups: dict[str, dict[GroupKey, Group]] = {type_url: {} for type_url in TYPES}
        self._before: dict[str, dict[GroupKey, Group]] = {}
        self._views: dict[str, dict[tuple[GroupKey, ...], View]] = {type_url: {} for type_url in TYPES}
        self._views_before: dict[str, dict[tuple[GroupKey, ...], View]] = previous._views if previous is not None else {}
        for type_url in TYPES:
            if previous is None:
                continue
            if type_url in self.unchanged:  # shared, not copied: what either of the two adds is right for both
                self._groups[type_url], self._views[type_url] = previous._groups[type_url], previous._views[type_url]
            else:
                self._before[type_url] = previous._survivors(type_url)
        self._plans: dict[int, tuple[tuple[GroupKey, ...], View]] = {}
        self._ready: dict[tuple[int, str], tuple[Proxy, frozenset[str] | None, View]] = {}
        self._made: dict[tuple[int, int], Made] = {}
        self._frames: dict[int, tuple[Generated, Framed]] = {}
        self._steps: dict[Any, tuple[Any, Any]] = {}
        self._responses: dict[Any, tuple[Any, Response]] = {}
        self._nonces = itertools.count(1)

    def _unchanged(self, previous: Epoch[Push, Proxy] | None) -> frozenset[str]:
        if not isinstance(self._generator, Grounded):
            return frozenset()
        self._bases = {type_url: self._generator.basis(self.push, type_url) for type_url in TYPES}
        if previous is None or self._check or self.number % LOOK_AGAIN == 0:
            return frozenset()
        return frozenset(type_url for type_url, basis in self._bases.items() if previous._bases.get(type_url) == basis)

    def prepare(self, wanted: Iterable[tuple[Proxy, str, frozenset[str] | None]]) -> None:
        """Make all these views, so that nobody waits for them later. Those of unchanged types are taken over as they are."""
        for proxy, type_url, names in wanted:
            if type_url not in self.unchanged:
                self._ready[id(proxy), type_url] = (proxy, names, self.view(proxy, type_url, names))

    def _survivors(self, type_url: str) -> dict[GroupKey, Group]:
        kept = {key: group for key, group in self._before.get(type_url, {}).items() if group.asked > self.number - FORGET_AFTER}
        kept.update(self._groups[type_url].copy())  # in one step: streams may still be served from this epoch
        return kept

    # -- what a proxy should have ---------------------------------------------------------------------------------------------------

    def view(self, proxy: Proxy, type_url: str, names: frozenset[str] | None) -> View:
        """The proxy's resources of a type: all of them (None) or the named ones."""
        ready = self._ready.get((id(proxy), type_url))
        if ready is not None and ready[0] is proxy and ready[1] is names:
            return ready[2]
        plan = self._generator.plan(self.push, proxy, type_url, names)
        remembered = self._plans.get(id(plan))
        if remembered is not None and remembered[0] is plan:
            return remembered[1]
        views = self._views[type_url]
        view = views.get(plan)
        if view is None:
            groups = tuple([self._group(key) for key in plan])
            before = self._views_before[type_url].get(plan) if self._views_before else None
            view = before if before is not None and _same(before.groups, groups) else View(groups)
            views[plan] = view
        if len(plan) > MOST_PARTS:  # hashing it took longer than finding it by identity; keeping it alive keeps its id its own
            self._plans[id(plan)] = (plan, view)
        return view

    def restricted(self, view: View, names: frozenset[str]) -> View:
        """Of a view, only the named resources: a client that subscribes to clusters or listeners by name."""

        def make() -> View:
            found = {name: frame for name in sorted(names) if (frame := view.get(name)) is not None}
            key = view.groups[0].key if view.groups else None
            return View((Group(key, None, found, self.number),)) if found and key is not None else NOTHING

        restricted: View = self._once(("restrict", id(view), names), (view, names), make)
        return restricted

    def _group(self, key: GroupKey) -> Group:
        groups = self._groups[key.type_url]
        group = groups.get(key)
        if group is not None:
            return group
        known = self._before.get(key.type_url)
        before = known.get(key) if known is not None else None
        try:
            group = self._resolve(key, before)
        except ImpureGenerator:
            raise
        except Exception as error:  # one group that fails keeps what it had; the others are not touched
            if self._on_error is None:
                raise
            self._on_error(key, error)
            group = before or Group(key, None, {}, self.number)
        group.asked = self.number
        groups[key] = group
        return group

    def _resolve(self, key: GroupKey, before: Group | None) -> Group:
        fingerprint = self._generator.fingerprint(self.push, key)
        if before is not None and before.fingerprint == fingerprint:
            if self._check:
                self._compare(key, before)
            return before
        made = self._make(key, before.resources if before is not None else _NO_RESOURCES)
        if before is not None and made.is_same:
            return before.same_content(fingerprint, made)
        group = Group(key, fingerprint, made.resources, self.number, made.content)
        if self._check:
            self._compare(key, group)
        return group

    def _make(self, key: GroupKey, known: Mapping[str, Framed]) -> Made:
        """Once for all groups that were handed the same resources and had the same before."""
        generated = self._generator.generate(self.push, key)
        place = (id(generated), id(known))
        made = self._made.get(place)
        if made is None:
            made = self._compose(key.type_url, generated, known)
            if key.type_url in SHARED:
                self._made[place] = made
        return made

    def _compose(self, type_url: str, generated: tuple[Generated, ...], known: Mapping[str, Framed]) -> Made:
        resources: dict[str, Framed] = {}
        same_bytes = same_frames = len(generated) == len(known)
        for resource in generated:
            old = known.get(resource.name)
            if old is not None and old.wire.holds(resource.body):
                if old.sources == resource.sources:
                    resources[resource.name] = old
                    continue
            else:
                same_bytes = False
            same_frames = False
            resources[resource.name] = self._frame(type_url, resource)
        frames = tuple(resources.values())
        return Made(generated, known, known if same_frames else resources, Part(frames), same_bytes)

    def _frame(self, type_url: str, generated: Generated) -> Framed:
        """One object for all groups that were handed the very same resource. (The memory of the snapshot keeps these alive anyway.)"""
        if type_url not in SHARED:
            return Framed(type_url, generated.name, generated.body, generated.sources)
        known = self._frames.get(id(generated))
        if known is None:
            known = self._frames[id(generated)] = (generated, Framed(type_url, generated.name, generated.body, generated.sources))
        return known[1]

    def _compare(self, key: GroupKey, group: Group) -> None:
        again = {generated.name: generated.body for generated in self._generator.generate(self.push, key)}
        have = {name: frame.body for name, frame in group.resources.items()}
        if again != have:
            differing = sorted(name for name in again.keys() | have.keys() if again.get(name) != have.get(name))
            raise ImpureGenerator(f"{key} gives two values for fingerprint {group.fingerprint!r}; they differ in {differing[:5]}")

    # -- steps between views --------------------------------------------------------------------------------------------------------

    def step(self, old: View | None, new: View) -> tuple[Part, ...]:
        """What leads from one view to another. Made once for all streams that take this step; parts are shared even between views."""
        if old is new:
            return ()
        parts: tuple[Part, ...] = self._once((id(old), id(new)), (old, new), lambda: self._step(old or NOTHING, new))
        return parts

    def _step(self, old: View, new: View) -> tuple[Part, ...]:
        if not old.groups:
            return _few([group.content for group in new.groups if group.resources])
        earlier = {group.key: group for group in old.groups}
        parts = []
        for group in new.groups:
            before = earlier.pop(group.key, None)
            if before is not group:
                parts.append(self._group_step(before, group))
        parts = [part for part in parts if part]
        lost = [name for part in parts for name in part.removed]
        lost += [name for group in earlier.values() for name in group.resources]
        if not lost:
            return _few(parts)
        frames = tuple([frame for part in parts for frame in part.frames])  # a name may have moved from one group to another
        return (Part(frames, tuple([name for name in dict.fromkeys(lost) if new.get(name) is None])),)

    def _group_step(self, old: Group | None, new: Group) -> Part:
        if old is None:
            return new.content

        def make() -> Part:
            frames = tuple([frame for name, frame in new.resources.items() if _changed(old.resources.get(name), frame)])
            return Part(frames, tuple([name for name in old.resources if name not in new.resources]))

        before, after = old.content, new.content
        part: Part = self._once((id(before), id(after)), (before, after), make)
        return part

    def again(self, view: View, names: frozenset[str], parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """`parts`, and the named resources that are not in them although they did not change."""

        def make() -> tuple[Part, ...]:
            there = {frame.name for part in parts for frame in part.frames}
            more = tuple([frame for name in sorted(names - there) if (frame := view.get(name)) is not None])
            return (*parts, Part(more)) if more else parts

        made: tuple[Part, ...] = self._once(("again", id(view), id(names), id(parts)), (view, names, parts), make)
        return made

    def _once(self, key: Any, alive: Any, make: Callable[[], Any]) -> Any:
        """Memory by identity; `alive` holds the objects whose ids are in the key."""
        found = self._steps.get(key)
        if found is None:
            if len(self._steps) > MOST_REMEMBERED:
                self._steps.clear()
            found = self._steps[key] = (alive, make())
        return found[1]

    # -- bytes ----------------------------------------------------------------------------------------------------------------------

    def delta(self, type_url: str, parts: tuple[Part, ...], removed: Iterable[str] = (), *, unlike: str = "") -> Response:
        """A delta response with these parts. Shared by all who send the same; `unlike` is a nonce that it must not have."""
        removed = tuple(removed)
        key = ("delta", type_url, removed, *map(id, parts))
        found = self._responses.get(key)
        if found is None or found[1].nonce == unlike:
            nonce = self.nonce()
            payload = delta_response(type_url, self.version, nonce, [part.delta for part in parts], removed)
            found = (parts, Response(nonce, payload))
            self._remember(key, found)
        return found[1]

    def sotw(self, type_url: str, parts: tuple[Part, ...], *, unlike: str = "") -> Response:
        """A state-of-the-world response with these parts, shared likewise."""
        key = ("sotw", type_url, *map(id, parts))
        found = self._responses.get(key)
        if found is None or found[1].nonce == unlike:
            nonce = self.nonce()
            found = (parts, Response(nonce, sotw_response(type_url, self.version, nonce, [part.sotw for part in parts])))
            self._remember(key, found)
        return found[1]

    def _remember(self, key: Any, found: tuple[tuple[Part, ...], Response]) -> None:
        parts, response = found
        if len(response.payload) < 4096 or len(parts) <= 1:  # a big one with a private part is nobody else's
            if len(self._responses) > MOST_REMEMBERED:
                self._responses.clear()
            self._responses[key] = found

    def forget_responses(self) -> None:
        """Everybody has been served: what is asked for again is joined again."""
        self._responses.clear()
        self._steps.clear()
        self._ready.clear()
        for groups in self._groups.values():
            for group in tuple(groups.values()):
                group.content.forget()

    def nonce(self) -> str:
        """Unique in this process: the epoch's number, then a count. The number tells a reader of dumps which snapshot was acknowledged."""
        return f"{self.number}.{next(self._nonces)}"


def since(known: Mapping[str, str], target: View) -> tuple[Part, ...]:
    """What leads from what a client says to hold, name -> version, to a view."""
    frames = tuple([frame for frame in target if known.get(frame.name) != frame.version])
    return (Part(frames),) if frames else ()


def _few(parts: list[Part]) -> tuple[Part, ...]:
    """A step of many small parts becomes one, so that its bytes are joined once and not for each stream."""
    return tuple(parts) if len(parts) <= MOST_PARTS else (Part(tuple([frame for part in parts for frame in part.frames])),)


def _same(first: tuple[Group, ...], second: tuple[Group, ...]) -> bool:
    return len(first) == len(second) and all(map(_is, first, second))


def _is(first: object, second: object) -> bool:
    return first is second


def _changed(old: Framed | None, new: Framed) -> bool:
    return old is not new and (old is None or old.version != new.version)
