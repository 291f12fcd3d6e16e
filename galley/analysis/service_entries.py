# SPDX-License-Identifier: Apache-2.0
"""ServiceEntries: addresses where a protocol cannot do without, and one protocol for one port of one host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from common.config.kinds.service_entry import ServiceEntry
from common.config.resource import Resource
from galley.analysis.codes import ADDRESSES_REQUIRED, CONFLICTING_SERVICE_ENTRY_PROTOCOL
from galley.analysis.finding import Finding, finding, listed
from galley.analysis.view import View
from galley.validation.primitives import HTTP_PROTOCOLS, TLS_PROTOCOLS, each


def addresses(view: View) -> Iterable[Finding]:
    """HTTP names its host and TLS its server; other protocols are told apart by address alone. Galley allocates one where names resolve."""
    return view.each(ServiceEntry, _addresses)


def _addresses(view: View, entry: Resource[ServiceEntry]) -> Iterator[Finding]:
    if entry.spec.addresses or entry.spec.resolution != "NONE":
        return
    for port, at in each(entry.spec.ports, ("spec", "ports")):
        protocol = port.protocol.lower()
        if protocol and protocol not in HTTP_PROTOCOLS and protocol not in TLS_PROTOCOLS:
            yield finding(ADDRESSES_REQUIRED, entry, (*at, "protocol"), ADDRESSES_REQUIRED.says(port.protocol))


def protocols(view: View) -> Iterator[Finding]:
    """Which of two protocols a proxy believes would be a matter of chance."""
    claims: dict[tuple[str, int], list[tuple[Resource[ServiceEntry], str]]] = defaultdict(list)
    for entry in view.of(ServiceEntry):
        for host in entry.spec.hosts:
            for port in entry.spec.ports:
                claims[host.lower(), port.number].append((entry, port.protocol.upper()))
    for (host, number), owners in claims.items():
        found = {protocol for _, protocol in owners}
        names = {f"{entry.namespace}/{entry.name}" for entry, _ in owners}
        if len(found) > 1 and len(names) > 1:
            text = CONFLICTING_SERVICE_ENTRY_PROTOCOL.says(listed(names), host, number, listed(found))
            for entry in {id(entry): entry for entry, _ in owners}.values():
                yield finding(CONFLICTING_SERVICE_ENTRY_PROTOCOL, entry, ("spec", "ports"), text)
