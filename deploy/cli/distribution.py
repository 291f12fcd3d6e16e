# SPDX-License-Identifier: Apache-2.0
"""How far a resource has come, as Pilot knows it from its proxies' acknowledgements."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from deploy.cli.connection import Connection, RefusedError

ACKED, REJECTED = "ACKED", "REJECTED"
PAUSE = 0.1  # seconds between two looks


class NotForProxies(Exception):
    """No Envoy gets anything that is made of this kind."""


class Distribution(NamedTuple):
    """One look. `states` has the proxies that use the resource; empty while Pilot has not got the version in question."""

    arrived: bool
    states: Mapping[str, str]

    @property
    def acked(self) -> int:
        return sum(state == ACKED for state in self.states.values())

    def in_state(self, *wanted: str) -> list[str]:
        return sorted(proxy for proxy, state in self.states.items() if state in wanted)

    def reaches(self, threshold: float) -> bool:
        """Whether that share (0 to 1) of the proxies that use the resource have it; also when nobody uses it."""
        return self.arrived and self.acked >= threshold * len(self.states)


def look(pilot: Connection, resource: str, version: str) -> Distribution:
    """Ask once about `kind/namespace/name`. Raises NotForProxies or CliError."""
    try:
        answer: Mapping[str, Any] = pilot.get("/debug/config_distribution", resource=resource)
    except RefusedError as error:
        detail = error.status.get("detail")
        if error.code == 404 and isinstance(detail, Mapping) and detail.get("code") == "NOT_FOR_PROXIES":
            raise NotForProxies from error
        raise
    has = answer["resourceVersion"]
    if has is None or int(has) < int(version):
        return Distribution(False, {})
    states: dict[str, str] = {}
    for row in answer["proxies"]:  # of a proxy that reconnected, the newest connection comes last
        states[row["proxy"]] = row["state"]
    return Distribution(True, states)


def until_distributed(
    pilot: Connection,
    resource: str,
    version: str,
    threshold: float,
    limit: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Distribution:
    """The first look at which enough proxies have it or one refuses it; after `limit` seconds the last one."""
    end = clock() + limit
    while True:
        found = look(pilot, resource, version)
        if found.reaches(threshold) or found.in_state(REJECTED) or clock() >= end:
            return found
        sleep(PAUSE)
