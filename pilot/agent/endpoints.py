# SPDX-License-Identifier: Apache-2.0
"""Where the control plane is now, in the files from which Envoy reads its bootstrap clusters' endpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from common.identity.private_file import write_private
from common.lifecycle.http import split_address
from common.mesh import names
from pilot.agent.settings import ProxySettings

log = structlog.get_logger("agent")

POLL = 0.25  # seconds between looks at the addresses file: one stat, and no inotify watch for each of many agents

Addresses = Mapping[str, Sequence[str]]
CLUSTERS = (names.XDS_CLUSTER, names.CHECK_CLUSTER, names.REPORT_CLUSTER)


class ControlPlaneEndpoints:
    """The endpoint file of each control-plane cluster, replaced by rename because Envoy watches for moves, not for writes."""

    def __init__(self, settings: ProxySettings) -> None:
        self._given: Addresses = {
            names.XDS_CLUSTER: settings.pilot_address,
            names.CHECK_CLUSTER: settings.mixer_check_address,
            names.REPORT_CLUSTER: settings.mixer_report_address,
        }
        self._source = settings.addresses_file
        self._seen: tuple[int, int] | None = None
        self._last: Addresses = {}
        self.files = {cluster: settings.state_dir / f"{cluster}.json" for cluster in CLUSTERS}
        self.current: dict[str, Sequence[str]] = {}

    def refresh(self) -> bool:
        """Read the addresses file if it was replaced, and rewrite what changed. True if anything did.

        A file that cannot be used is reported and leaves everything as it is: old addresses are better than none.
        """
        found = self._read()
        changed = {cluster: list(found.get(cluster, self._given[cluster])) for cluster in CLUSTERS}
        changed = {cluster: addresses for cluster, addresses in changed.items() if self.current.get(cluster) != addresses}
        for cluster, addresses in changed.items():
            write_private(self.files[cluster], json.dumps(endpoint_file(cluster, addresses)).encode())
            self.current[cluster] = addresses
        return bool(changed)

    def other(self, name: str) -> str | None:
        """The first address that the addresses file holds for somebody else than Envoy, such as Galley's registration."""
        return next(iter(self._last.get(name, ())), None)

    async def follow(self) -> None:
        """Rewrite the endpoint files whenever the addresses file is replaced, until cancelled."""
        while self._source is not None:
            await asyncio.sleep(POLL)
            if self.refresh():
                log.info("the control plane moved", **{cluster.replace("-", "_"): list(to) for cluster, to in self.current.items()})

    def _read(self) -> Addresses:
        if self._source is None:
            return {}
        try:
            status = self._source.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return self._last
            found = json.loads(self._source.read_text())
            checked = {str(name): [_checked(address) for address in addresses] for name, addresses in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("the addresses file cannot be used; the last addresses stay", file=str(self._source), reason=str(error))
            return self._last
        self._seen, self._last = seen, checked
        return checked


def endpoint_file(cluster: str, addresses: Sequence[str]) -> dict[str, Any]:
    """The DiscoveryResponse that Envoy reads from a file."""
    endpoints = []
    for address in addresses:
        host, port = split_address(address)
        endpoints.append({"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}})
    assignment = {
        "@type": names.TYPE_ENDPOINT,
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
    }
    return {"version_info": "1", "resources": [assignment]}


def _checked(address: object) -> str:
    if not isinstance(address, str):
        raise ValueError(f"{address!r} is not an address")
    split_address(address)
    return address
