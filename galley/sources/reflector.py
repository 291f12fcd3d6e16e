# SPDX-License-Identifier: Apache-2.0
"""Keeps up with one kind of a Kubernetes API server: list, then watch from there, for ever (client-go calls this a reflector).

It lists again when the server no longer remembers the version, and once in a while for certainty; any other interruption is followed by a
watch from the last version heard of, which bookmarks keep fresh on quiet kinds. A kind that the server does not know is empty until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog

from common.config.registry import Kind

log = structlog.get_logger("source")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts
ABSENT_PAUSE = 30.0
"""How long until a kind that the server does not know is asked for again: somebody may install its definition."""
WATCH_SECONDS = 300.0
"""A watch is asked to end after one to two times this: a load balancer that cuts it in silence is then noticed."""

Object = dict[str, Any]


class GoneError(Exception):
    """The server no longer remembers the version (410)."""


class AbsentError(Exception):
    """The server has no such kind (404)."""


class ApiError(Exception):
    """Anything else that went wrong, in words for people."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind, and the version from which to watch."""

    version: str
    items: Sequence[Object]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


class KubernetesApi(Protocol):
    """As much of an API server as a reflector needs; both raise the errors above."""

    async def list_all(self, kind: Kind) -> Listing: ...

    def watch(self, kind: Kind, version: str, *, seconds: float) -> AsyncGenerator[WatchEvent, None]:
        """Events after `version`, bookmarks among them, until the server ends the watch (at the latest after `seconds`)."""
        ...


class Heard(Protocol):
    """Who is told."""

    def replaced(self, kind: Kind, items: Sequence[Object]) -> None:
        """These are all objects of the kind now."""

    def changed(self, kind: Kind, found: Object) -> None: ...
    def removed(self, kind: Kind, found: Object) -> None: ...


class Reflector:
    """One kind. `complaint` says why it is behind; None while it is not."""

    def __init__(
        self,
        kind: Kind,
        api: KubernetesApi,
        heard: Heard,
        *,
        resync_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`resync_seconds` 0: never list without a reason."""
        self.kind, self._api, self._heard, self._sleep = kind, api, heard, sleep
        self._resync = resync_seconds
        self._version: str | None = None
        self._listed_at = 0.0
        self._pause = FIRST_PAUSE
        self.complaint: str | None = "not listed yet"

    @property
    def is_listed(self) -> bool:
        return self._version is not None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()

    async def step(self) -> None:
        """List or watch once, and pause when that went wrong."""
        try:
            if self._version is None or self._is_stale():
                await self.list_all()
            else:
                await self._watch(self._version)
        except GoneError:
            self._version = None  # no pause: the next list brings everything
        except AbsentError:
            self._heard.replaced(self.kind, ())
            self._version, self.complaint = None, "the server does not know this kind"
            await self._sleep(ABSENT_PAUSE * random.uniform(1.0, 1.5))  # noqa: S311 - jitter, not a secret
        except ApiError as error:
            if self.complaint != str(error):
                log.warning("the Kubernetes API does not answer; what it said is kept", kind=self.kind.plural, reason=str(error))
            self.complaint = str(error)
            pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
            await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def list_all(self) -> None:
        """Raises as the API does."""
        listing = await self._api.list_all(self.kind)
        self._heard.replaced(self.kind, listing.items)
        self._listed_at = asyncio.get_running_loop().time()
        self._well(listing.version)

    async def _watch(self, version: str) -> None:
        seconds = WATCH_SECONDS * random.uniform(1.0, 2.0)  # noqa: S311 - spreads the reconnects of many kinds
        if self._resync:
            seconds = min(seconds, max(1.0, self._resync - self._age()))
        async with contextlib.aclosing(self._api.watch(self.kind, version, seconds=seconds)) as events:
            async for event in events:
                if event.type == "DELETED":
                    self._heard.removed(self.kind, event.object)
                elif event.type != "BOOKMARK":
                    self._heard.changed(self.kind, event.object)
                self._well(str(event.object.get("metadata", {}).get("resourceVersion") or self._version))

    def _well(self, version: str) -> None:
        self._version, self.complaint, self._pause = version, None, FIRST_PAUSE

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._listed_at

    def _is_stale(self) -> bool:
        return self._resync > 0 and self._age() >= self._resync
