# SPDX-License-Identifier: Apache-2.0
"""What proxies should have: groups of resources, and the views that are made of them.

* `Group`: the resources of one `GroupKey`. It stays the same object for as long as its content stays the same.
* `View`: the groups that make up one type for one proxy. Proxies with equal plans share one object.

Because unchanged things keep their identity, asking whether a stream needs a push is one `is` for each type.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pilot.xds.frames import Framed, Part

if TYPE_CHECKING:
    from common.config.resource import ResourceKey
    from pilot.networking.generator import Generated, GroupKey


class Made(NamedTuple):
    """The resources that were generated, framed. Groups that were handed the same share one of these."""

    generated: tuple[Generated, ...]
    """Of shared types, to compare with at the next push; else empty, because a body is in its frame already."""
    resources: Mapping[str, Framed]
    content: Part
    """All of them, in the same order: sending a whole group costs no join."""


class Group:
    """The resources of one key."""

    __slots__ = ("_sources", "asked", "fingerprint", "key", "made")

    def __init__(self, key: GroupKey, fingerprint: Hashable, made: Made, asked: int) -> None:
        self.key, self.fingerprint, self.made, self.asked = key, fingerprint, made, asked
        self._sources: frozenset[ResourceKey] | None = None

    @property
    def resources(self) -> Mapping[str, Framed]:
        return self.made.resources

    @property
    def content(self) -> Part:
        return self.made.content

    @property
    def sources(self) -> frozenset[ResourceKey]:
        """All objects that its resources were made of."""
        if self._sources is None:
            self._sources = frozenset(source for frame in self.content.frames for source in frame.sources)
        return self._sources

    def same_content(self, fingerprint: Hashable, made: Made) -> Group:
        """It was generated again and came out equal, maybe from other objects."""
        self.fingerprint, self.made, self._sources = fingerprint, made, None
        return self


class View:
    """What one proxy should have of one type."""

    __slots__ = ("_index", "groups", "plan")

    def __init__(self, groups: tuple[Group, ...], plan: tuple[GroupKey, ...] = ()) -> None:
        self.groups, self.plan = groups, plan
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


NOTHING = View(())


def since(known: Mapping[str, str], target: View) -> tuple[Part, ...]:
    """What leads from what a client says to hold, name -> version, to a view."""
    frames = tuple([frame for frame in target if known.get(frame.name) != frame.version])
    return (Part(frames),) if frames else ()
