# SPDX-License-Identifier: Apache-2.0
"""What became of configuration at the proxies, told at the configuration that it concerns.

A refusal names an Envoy resource; `Generated.sources` names the objects that it came from. One object is Applied when proxies took what was
made of it and none refuses a part of it; it is not when one does, and then the report says which proxy, which resource and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from common.config.resource import ResourceKey
from common.registration.reporter import Verdict
from pilot.metrics import TYPE_LABEL
from pilot.xds.cache import Part
from pilot.xds.stream import Refused

APPLIED = "Applied"
MOST_SHOWN = 3  # refusals in one message


class Report(Protocol):
    """`StatusReporter.report`."""

    def __call__(self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "") -> None: ...


class _Where(NamedTuple):
    connection: str
    type_url: str
    name: str


class Reports:
    """Collects outcomes of all streams. `version_of` gives the resourceVersion of an object as Pilot has it now (None: gone)."""

    def __init__(self, report: Report, version_of: Callable[[ResourceKey], str | None]) -> None:
        self._report, self._version_of = report, version_of
        self._refusals: dict[ResourceKey, dict[_Where, Refused]] = {}
        self._told: dict[int, Part] = {}
        self._epoch = 0

    def accepted(self, connection: str, type_url: str, parts: Iterable[Part], epoch: int) -> None:
        """A proxy took these. Most parts are shared by many streams and looked at once."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._told.clear()
        for part in parts:
            if self._refusals:
                self._clear(_Where(connection, type_url, frame.name) for frame in part.frames)
            if id(part) in self._told:
                continue
            self._told[id(part)] = part
            for key in {source for frame in part.frames for source in frame.sources}:
                if key not in self._refusals:
                    self._tell(key, Verdict.TRUE, "AcceptedByEnvoy", "")

    def refused(self, connection: str, refusal: Refused) -> None:
        """A proxy refuses a resource by itself."""
        for key in refusal.sources:
            self._refusals.setdefault(key, {})[_Where(connection, refusal.type_url, refusal.name)] = refusal
            self._tell_refusals(key)

    def gone(self, connection: str) -> None:
        """A proxy left, and its refusals with it."""
        self._clear(where for found in tuple(self._refusals.values()) for where in tuple(found) if where.connection == connection)

    def _clear(self, places: Iterable[_Where]) -> None:
        for where in places:
            for key in [key for key, found in self._refusals.items() if where in found]:
                del self._refusals[key][where]
                if self._refusals[key]:
                    self._tell_refusals(key)
                else:
                    del self._refusals[key]
                    self._tell(key, Verdict.TRUE, "AcceptedByEnvoy", "no connected proxy refuses it any more")

    def _tell_refusals(self, key: ResourceKey) -> None:
        found = self._refusals[key]
        shown = [
            f"{where.connection} refuses {TYPE_LABEL[where.type_url].upper()} {where.name}: {refusal.message}"
            for where, refusal in list(found.items())[:MOST_SHOWN]
        ]
        more = f" (and {len(found) - MOST_SHOWN} more)" if len(found) > MOST_SHOWN else ""
        self._tell(key, Verdict.FALSE, "RejectedByEnvoy", "; ".join(shown) + more)

    def _tell(self, key: ResourceKey, verdict: Verdict, reason: str, message: str) -> None:
        version = self._version_of(key)
        if version is not None:
            self._report(key, resource_version=version, type=APPLIED, verdict=verdict, reason=reason, message=message)
