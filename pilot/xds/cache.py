# SPDX-License-Identifier: Apache-2.0
"""One snapshot with everything that was made from it. The next one takes over what did not change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from itertools import compress
from operator import is_not
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.xds.frames import Framed, Part
from pilot.xds.framing import delta_response, sotw_response
from pilot.xds.generator import Generator, Grounded, Proxy, Push
from pilot.xds.views import NOTHING, Group, Made, View

if TYPE_CHECKING:
    from pilot.networking.generator import Generated, GroupKey

MOST_PARTS = 4
LARGE = 4096  # bytes of a response that are not kept for the next stream unless they are surely wanted again
MOST_REMEMBERED = 20_000  # steps and small responses of one epoch; proxies that come and go must not fill the memory
FORGET_AFTER = 8  # epochs in which no stream asked for a group
LOOK_AGAIN = 64  # epochs after which even unchanged types are looked at, so that what departed proxies needed is forgotten
SHARED = frozenset({TYPE_CLUSTER, TYPE_VIRTUAL_HOST})
"""Types of which namespaces mostly have the same resources."""
TYPES = (TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST)


class ImpureGenerator(AssertionError):
    """Assertion mode found a key that gave two values for one fingerprint: the fingerprint misses something that the output depends on."""


OnError = Callable[["GroupKey", Exception], None]


class Response:
    """A response that many streams may share: then the same bytes object is written to each.

    One that is a single proxy's is joined only when it is written, and not kept: a thousand of them at once would be a gigabyte.
    """

    __slots__ = ("_is_shared", "_join", "_payload", "nonce")

    def __init__(self, nonce: str, join: Callable[[], bytes], *, is_shared: bool) -> None:
        self.nonce, self._join, self._is_shared = nonce, join, is_shared
        self._payload: bytes | None = None

    @property
    def payload(self) -> bytes:
        if self._payload is not None:
            return self._payload
        payload = self._join()
        if self._is_shared:
            self._payload = payload
        return payload


class _Ready(NamedTuple, Generic[Proxy]):
    """A view that was made for a proxy before it asked."""

    proxy: Proxy
    names: frozenset[str] | None
    view: View

    def serves(self, proxy: Proxy, names: frozenset[str] | None) -> bool:
        return self.proxy is proxy and self.names is names


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
        self._plan_bases: dict[str, Hashable] = {}
        self._planned: dict[str, dict[int, _Ready[Proxy]]] = {type_url: {} for type_url in TYPES}  # what still has the right plan
        self.unchanged: frozenset[str] = frozenset()
        """Types of which no view differs from the epoch before."""
        self._stand_on(previous)
        self._groups: dict[str, dict[GroupKey, Group]] = {type_url: {} for type_url in TYPES}
        self._before: dict[str, dict[GroupKey, Group]] = {}
        self._views: dict[str, dict[tuple[GroupKey, ...], View]] = {type_url: {} for type_url in TYPES}
        self._ready: dict[str, dict[int, _Ready[Proxy]]] = {type_url: {} for type_url in TYPES}
        self._views_before: dict[str, dict[tuple[GroupKey, ...], View]] = previous._views if previous is not None else {}
        for type_url in TYPES:
            if previous is None:
                continue
            if type_url in self.unchanged:  # shared, not copied: what either of the two adds is right for both
                self._groups[type_url], self._views[type_url] = previous._groups[type_url], previous._views[type_url]
                self._ready[type_url] = previous._ready[type_url]
            else:
                self._before[type_url] = previous._survivors(type_url)
        self._plans: dict[int, tuple[tuple[GroupKey, ...], View]] = {}
        self._made: dict[tuple[int, int], tuple[tuple[Generated, ...], Made | None, Made]] = {}
        self._frames: dict[int, tuple[Generated, Framed]] = {}
        self._steps: dict[Any, tuple[Any, Any]] = {}
        self._responses: dict[Any, tuple[Any, Response]] = {}
        self._nonces = itertools.count(1)

    def _stand_on(self, previous: Epoch[Push, Proxy] | None) -> None:
        """See what need not be asked again."""
        if not isinstance(self._generator, Grounded):
            return
        self._bases = {type_url: self._generator.basis(self.push, type_url) for type_url in TYPES}
        self._plan_bases = {type_url: self._generator.plan_basis(self.push, type_url) for type_url in TYPES}
        if previous is None or self._check or self.number % LOOK_AGAIN == 0:
            return
        self.unchanged = frozenset(type_url for type_url, basis in self._bases.items() if previous._bases.get(type_url) == basis)
        for type_url, basis in self._plan_bases.items():
            if previous._plan_bases.get(type_url) == basis:
                self._planned[type_url] = previous._ready[type_url]

    def prepare(self, wanted: Iterable[tuple[Proxy, str, frozenset[str] | None]]) -> None:
        """Make all these views, so that nobody waits for them later. Those of unchanged types are taken over as they are."""
        for proxy, type_url, names in wanted:
            if type_url not in self.unchanged:
                before = self._planned[type_url].get(id(proxy))
                if before is not None and before.serves(proxy, names):
                    view = self._view(type_url, before.view.plan)
                else:
                    view = self.view(proxy, type_url, names)
                self._ready[type_url][id(proxy)] = _Ready(proxy, names, view)
        for planned in self._planned:
            self._planned[planned] = {}

    def _survivors(self, type_url: str) -> dict[GroupKey, Group]:
        kept = {key: group for key, group in self._before.get(type_url, {}).items() if group.asked > self.number - FORGET_AFTER}
        kept.update(self._groups[type_url].copy())  # in one step: streams may still be served from this epoch
        return kept

    # -- what a proxy should have ---------------------------------------------------------------------------------------------------

    def view(self, proxy: Proxy, type_url: str, names: frozenset[str] | None) -> View:
        """The proxy's resources of a type: all of them (None) or the named ones."""
        ready = self._ready[type_url].get(id(proxy))
        if ready is not None and ready.serves(proxy, names):
            return ready.view
        return self._view(type_url, self._generator.plan(self.push, proxy, type_url, names))

    def _view(self, type_url: str, plan: tuple[GroupKey, ...]) -> View:
        remembered = self._plans.get(id(plan))
        if remembered is not None and remembered[0] is plan:
            return remembered[1]
        views = self._views[type_url]
        view = views.get(plan)
        if view is None:
            groups = tuple([self._group(key) for key in plan])
            before = self._views_before[type_url].get(plan) if self._views_before else None
            view = before if before is not None and _same(before.groups, groups) else View(groups, plan)
            views[plan] = view
        if view.plan is plan or len(plan) > MOST_PARTS:  # it will be asked for by this very object: finding it by identity costs least
            self._plans[id(plan)] = (plan, view)
        return view

    def restricted(self, view: View, names: frozenset[str]) -> View:
        """Of a view, only the named resources: a client that subscribes to clusters or listeners by name."""

        def make() -> View:
            found = {name: frame for name in sorted(names) if (frame := view.get(name)) is not None}
            key = view.groups[0].key if view.groups else None
            made = Made((), found, Part(tuple(found.values())))
            return View((Group(key, None, made, self.number),)) if found and key is not None else NOTHING

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
            group = before or Group(key, None, Made((), {}, Part(())), self.number)
        group.asked = self.number
        groups[key] = group
        return group

    def _resolve(self, key: GroupKey, before: Group | None) -> Group:
        fingerprint = self._generator.fingerprint(self.push, key)
        if before is not None and before.fingerprint == fingerprint:
            if self._check:
                self._compare(key, before)
            return before
        made = self._make(key, before.made if before is not None else None)
        if before is not None and not self._content_step(before.content, made.content):
            return before.same_content(fingerprint, made)
        group = Group(key, fingerprint, made, self.number)
        if self._check:
            self._compare(key, group)
        return group

    def _make(self, key: GroupKey, before: Made | None) -> Made:
        """Once for all groups that were handed the same resources and had the same before."""
        generated = self._generator.generate(self.push, key)
        if key.type_url not in SHARED:
            return self._compose(key.type_url, generated, before)
        place = (id(generated), id(before.content) if before is not None else 0)
        found = self._made.get(place)
        if found is None:
            found = self._made[place] = (generated, before, self._compose(key.type_url, generated, before))
        return found[2]

    def _compose(self, type_url: str, generated: tuple[Generated, ...], before: Made | None) -> Made:
        if before is not None and before.generated and len(generated) == len(before.generated):  # mostly the same objects: then C compares
            places = list(compress(itertools.count(), map(is_not, generated, before.generated)))
            if all(generated[place].name == before.generated[place].name for place in places):
                return self._replace(type_url, generated, before, places)
        known = before.resources if before is not None else {}
        resources: dict[str, Framed] = {}
        for resource in generated:
            old = known.get(resource.name)
            kept = old is not None and old.wire.holds(resource.body) and old.sources == resource.sources
            resources[resource.name] = old if old is not None and kept else self._frame(type_url, resource)
        return Made(generated if type_url in SHARED else (), resources, Part(tuple(resources.values())))

    def _replace(self, type_url: str, generated: tuple[Generated, ...], before: Made, places: list[int]) -> Made:
        """The same names in the same order, and other objects in some places."""
        frames = list(before.content.frames)
        resources = dict(before.resources)
        changed = []
        for place in places:
            resource, old = generated[place], frames[place]
            same = old.wire.holds(resource.body)
            if same and old.sources == resource.sources:
                continue
            frames[place] = resources[resource.name] = frame = self._frame(type_url, resource)
            if not same:
                changed.append(frame)
        made = Made(generated, resources, Part(tuple(frames)))
        self._once((id(before.content), id(made.content)), (before.content, made.content), lambda: Part(tuple(changed)))
        return made

    def _frame(self, type_url: str, generated: Generated) -> Framed:
        """One object for all groups that were handed the very same resource. (The memory of the snapshot keeps these alive anyway.)"""
        if type_url not in SHARED:
            return Framed(type_url, generated.name, generated.body, generated.sources)
        known = self._frames.get(id(generated))
        if known is None:
            known = self._frames[id(generated)] = (generated, Framed(type_url, generated.name, generated.body, generated.sources))
        return known[1]

    def _compare(self, key: GroupKey, group: Group) -> None:
        again = {generated.name: generated.body for generated in self._generator.regenerate(self.push, key)}
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
            if before is None:
                parts.append(group.content)
            elif before is not group:
                parts.append(self._content_step(before.content, group.content))
        parts = [part for part in parts if part]
        lost = [name for part in parts for name in part.removed]
        lost += [name for group in earlier.values() for name in group.resources]
        if not lost:
            return _few(parts)
        frames = tuple([frame for part in parts for frame in part.frames])  # a name may have moved from one group to another
        return (Part(frames, tuple([name for name in dict.fromkeys(lost) if new.get(name) is None])),)

    def _content_step(self, before: Part, after: Part) -> Part:
        """From all resources of a group to those that it has now."""

        def make() -> Part:
            old = {frame.name: frame for frame in before.frames}
            frames = tuple([frame for frame in after.frames if _changed(old.pop(frame.name, None), frame)])
            return Part(frames, tuple(old))

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
        size = sum([len(part.delta) for part in parts])
        join = partial(_delta, type_url, self.version, parts, removed)
        return self._response(("delta", type_url, removed, *map(id, parts)), parts, size, join, unlike)

    def sotw(self, type_url: str, parts: tuple[Part, ...], *, unlike: str = "") -> Response:
        """A state-of-the-world response with these parts, shared likewise."""
        size = sum([len(part.sotw) for part in parts])
        return self._response(("sotw", type_url, *map(id, parts)), parts, size, partial(_sotw, type_url, self.version, parts), unlike)

    def _response(self, key: Any, parts: tuple[Part, ...], size: int, join: Callable[[str], bytes], unlike: str) -> Response:
        """`join` must not hold the epoch: with a cycle a snapshot of a large mesh would stay until Python happens to look for it."""
        found = self._responses.get(key)
        if found is not None and found[1].nonce != unlike:
            return found[1]
        nonce = self.nonce()
        is_shared = len(parts) <= 1 or size < LARGE  # a large one with a private part is nobody else's
        response = Response(nonce, partial(join, nonce), is_shared=is_shared)
        if is_shared:
            if len(self._responses) > MOST_REMEMBERED:
                self._responses.clear()
            self._responses[key] = (parts, response)
        return response

    def forget_responses(self) -> None:
        """Everybody has been served: what is asked for again is joined again."""
        self._responses.clear()
        self._steps.clear()
        for groups in self._groups.values():
            for group in tuple(groups.values()):
                group.content.forget()

    def nonce(self) -> str:
        """Unique in this process: the epoch's number, then a count. The number tells a reader of dumps which snapshot was acknowledged."""
        return f"{self.number}.{next(self._nonces)}"


def _delta(type_url: str, version: str, parts: tuple[Part, ...], removed: tuple[str, ...], nonce: str) -> bytes:
    return delta_response(type_url, version, nonce, [part.delta for part in parts], removed)


def _sotw(type_url: str, version: str, parts: tuple[Part, ...], nonce: str) -> bytes:
    return sotw_response(type_url, version, nonce, [part.sotw for part in parts])


def _few(parts: list[Part]) -> tuple[Part, ...]:
    """A step of many small parts becomes one, so that its bytes are joined once and not for each stream."""
    return tuple(parts) if len(parts) <= MOST_PARTS else (Part(tuple([frame for part in parts for frame in part.frames])),)


def _same(first: tuple[Group, ...], second: tuple[Group, ...]) -> bool:
    return len(first) == len(second) and all(map(_is, first, second))


def _is(first: object, second: object) -> bool:
    return first is second


def _changed(old: Framed | None, new: Framed) -> bool:
    return old is not new and (old is None or old.version != new.version)
