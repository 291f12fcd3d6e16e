# SPDX-License-Identifier: Apache-2.0
"""What proxies refuse, told at the configuration that it concerns.

A refusal names an Envoy resource; `Generated.sources` names the objects that it came from. Such an object gets the condition `Rejected` with
the proxy, the resource and Envoy's own words, until no connected proxy refuses a part of it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from common.config.resource import ResourceKey
from common.registration.reporter import Verdict
from pilot.metrics import TYPE_LABEL
from pilot.xds.frames import Part
from pilot.xds.notices import Refused

REJECTED = "Rejected"
MOST_SHOWN = 3  # refusals in one message


class Report(Protocol):
    """`StatusReporter.report`."""

    def __call__(self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "") -> None: ...


class _Where(NamedTuple):
    connection: str
    type_url: str
    name: str


class Reports:
    """Collects refusals of all streams. `version_of` gives the resourceVersion of an object as Pilot has it now (None: gone)."""

    def __init__(self, report: Report, version_of: Callable[[ResourceKey], str | None]) -> None:
        self._report, self._version_of = report, version_of
        self._refusals: dict[ResourceKey, dict[_Where, Refused]] = {}
        self.changed: Callable[[Iterable[ResourceKey]], None] = lambda keys: None
        """Called with objects that a proxy began or ceased to refuse."""

    def accepted(self, connection: str, type_url: str, parts: Iterable[Part]) -> None:
        """A proxy took these."""
        if self._refusals:
            self._clear([_Where(connection, type_url, frame.name) for part in parts for frame in part.frames])

    def refused(self, connection: str, refusal: Refused) -> None:
        """A proxy refuses a resource by itself."""
        for key in refusal.sources:
            self._refusals.setdefault(key, {})[_Where(connection, refusal.type_url, refusal.name)] = refusal
            self._tell_refusals(key)
        self.changed(refusal.sources)

    def gone(self, connection: str) -> None:
        """A proxy left, and its refusals with it."""
        self._clear({where for found in self._refusals.values() for where in found if where.connection == connection})

    def _clear(self, places: Iterable[_Where]) -> None:
        for where in places:
            for key in [key for key, found in self._refusals.items() if where in found]:
                del self._refusals[key][where]
                if self._refusals[key]:
                    self._tell_refusals(key)
                else:
                    del self._refusals[key]
                    self._tell(key, Verdict.FALSE, "AcceptedByEnvoy", "no connected proxy refuses it any more")
                self.changed((key,))

    def _tell_refusals(self, key: ResourceKey) -> None:
        found = self._refusals[key]
        shown = [
            f"{where.connection.rpartition('-')[0]} refuses {TYPE_LABEL[where.type_url].upper()} {where.name}: {refusal.message}"
            for where, refusal in list(found.items())[:MOST_SHOWN]
        ]
        more = f" (and {len(found) - MOST_SHOWN} more)" if len(found) > MOST_SHOWN else ""
        self._tell(key, Verdict.TRUE, "RejectedByEnvoy", "; ".join(shown) + more)

    def _tell(self, key: ResourceKey, verdict: Verdict, reason: str, message: str) -> None:
        version = self._version_of(key)
        if version is not None:
            self._report(key, resource_version=version, type=REJECTED, verdict=verdict, reason=reason, message=message)
