# SPDX-License-Identifier: Apache-2.0
"""Finding the resource that a proxy refuses.

A refusal (NACK) covers a whole response. Envoy may have applied nothing of it (a constraint failed) or all but the bad ones, and its message
often names no resource, so afterwards the state of each one is unknown. They are sent again: those that the message names each alone, the
rest in halves until one is left that is refused by itself. That one is held back until it changes; all others flow on.
(One by one throughout would find the same and take 1,000 round trips for the first push of 1,000 clusters.)
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pilot.xds.frames import Framed
from pilot.xds.views import View

_WORD = re.compile(r"[^\s,;'\"()\[\]]+")
ALONE = 4
"""So few suspects are tried one by one at once."""


class Refusal(NamedTuple):
    """One resource that one proxy will not take."""

    frame: Framed
    message: str
    since: int = 0
    """The newest epoch in which the proxy took another form of it; 0 when it never took one. What changed later is to blame."""


class Isolation:
    """The suspects and the convicted of one type on one stream."""

    def __init__(self, *, together: bool = False) -> None:
        self._together = together
        """Whether what was refused may be right as soon as another one is accepted: of virtual hosts no two may have one domain."""
        self._helped = False
        self.held: dict[str, Refusal] = {}
        """Refused by itself: not sent again until its content changes."""
        self.accepted: dict[str, Framed | None] = {}
        """What was ever refused and not accepted since: the form that the proxy had before, None if it had none.
        State-of-the-world responses repeat it."""
        self._accepted_at: dict[str, int] = {}
        self.doubtful: set[str] = set()
        """Were in a refused response and have been replaced since: which form the proxy has is not known until it accepts one."""
        self._batches: deque[tuple[Framed, ...]] = deque()
        self._trying: tuple[Framed, ...] = ()
        self._nonce = ""
        self._names: set[str] = set()

    def refused(
        self, frames: Iterable[Framed], message: str, before: Callable[[str], Framed | None], *, sole: bool, acked_epoch: int = 0
    ) -> list[Refusal]:
        """A response with these resources was refused. Returns what is convicted by that: one resource, if it was the `sole` suspect.

        `before` gives the form of a resource that the proxy has; what it has is of `acked_epoch`.
        """
        frames = tuple(frames)
        for frame in frames:
            if frame.name not in self.accepted:
                had = self.accepted[frame.name] = before(frame.name)
                self._accepted_at[frame.name] = acked_epoch if had is not None else 0
            self._names.add(frame.name)
        if sole and len(frames) == 1:
            refusal = Refusal(frames[0], message, self._accepted_at[frames[0].name])
            self.held[frames[0].name] = refusal
            return [refusal]
        self._batches.extendleft(reversed(_split(frames, message)))
        return []

    def excluded(self, name: str) -> bool:
        """Whether ordinary pushes must leave this resource out."""
        return name in self._names

    @property
    def is_trying(self) -> bool:
        """Whether suspects are left."""
        return bool(self._batches or self._trying)

    @property
    def is_out(self) -> bool:
        """Whether a batch was sent and is not answered."""
        return bool(self._trying)

    def __bool__(self) -> bool:
        """Whether anything is suspected or held."""
        return bool(self._names)

    def next(self) -> tuple[Framed, ...]:
        """The suspects to send now; empty when one batch is out already or none is left. Tell their nonce by `sent`."""
        if self._trying or not self._batches:
            return ()
        self._trying = self._batches.popleft()
        return self._trying

    def sent(self, nonce: str) -> None:
        self._nonce = nonce

    def answered(self, nonce: str, *, accepted: bool) -> bool:
        """An answer came. True when it was for the batch that was out; if that was accepted, its resources are suspects no more."""
        if not self._trying or nonce != self._nonce:
            return False
        if accepted:
            for frame in self._trying:
                self._free(frame.name)
            self._helped = self._together and bool(self.held)
        self._trying = ()
        if self._helped and not self._batches:
            self._helped = False
            self._batches.extend((refusal.frame,) for refusal in self.held.values())
        return True

    def took(self, frames: Iterable[Framed]) -> None:
        """The proxy accepted these, so what it had before is of no interest."""
        self.forget(frame.name for frame in frames)

    def forget(self, names: Iterable[str]) -> None:
        """What the proxy had of these is of no interest any more, unless they are still suspected."""
        for name in names:
            if name not in self._names:
                self.accepted.pop(name, None)
                self._accepted_at.pop(name, None)
                self.doubtful.discard(name)

    def review(self, target: View) -> set[str]:
        """Compare with what the proxy should have now. Returns the names that changed since: they are free to be sent."""
        freed = set()
        suspects = {frame.name: frame for batch in (*self._batches, self._trying) for frame in batch}
        for name in tuple(self._names):
            frame = suspects.get(name) or (self.held[name].frame if name in self.held else None)
            now = target.get(name)
            if now is None or frame is None or now.version != frame.version:
                if name in suspects:
                    self.doubtful.add(name)
                self._free(name)
                freed.add(name)
        if freed and self._together:
            freed |= self.held.keys()
            for name in tuple(self.held):
                self._free(name)
        if freed:
            kept = [tuple([frame for frame in batch if frame.name not in freed]) for batch in self._batches]
            self._batches = deque(batch for batch in kept if batch)
            self._trying = tuple([frame for frame in self._trying if frame.name not in freed])
        return freed

    def _free(self, name: str) -> None:
        self._names.discard(name)
        self.held.pop(name, None)


def _split(frames: tuple[Framed, ...], message: str) -> list[tuple[Framed, ...]]:
    """First those that the message does not name, together: a state-of-the-world client then keeps them all the time."""
    words = set(_WORD.findall(message))
    words |= {word.rstrip(".:") for word in words}
    named = [frame for frame in frames if frame.name in words]
    if named and len(named) < len(frames):
        return [tuple([frame for frame in frames if frame not in named]), *((frame,) for frame in named)]
    if len(frames) <= ALONE:
        return [(frame,) for frame in frames]
    middle = len(frames) // 2
    return [frames[:middle], frames[middle:]]
