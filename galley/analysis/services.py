# SPDX-License-Identifier: Apache-2.0
"""Services and the rules for them: names that say the protocol, DestinationRules for hosts that exist."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds.core import Service
from common.config.kinds.destination_rule import DestinationRule
from galley.analysis.finding import PORT_NAME_CONVENTION, UNKNOWN_DESTINATION_RULE_HOST, Finding, finding
from galley.analysis.view import View
from galley.validation import hosts
from galley.validation.primitives import PROTOCOLS, each


def port_names(view: View) -> Iterator[Finding]:
    """Without a protocol in its name a port is sniffed, and routing rules may not apply to it."""
    for service in view.of(Service):
        for port, at in each(service.spec.ports, ("spec", "ports")):
            prefix = port.name.partition("-")[0]
            known = prefix in PROTOCOLS or port.name.startswith("grpc-web")
            if port.protocol == "TCP" and not known and not port.appProtocol:
                text = f"Port name {port.name!r} (port {port.port}) does not say its protocol; begin it with http, grpc, tcp, … as in 'http-web'"
                yield finding(PORT_NAME_CONVENTION, service, at, text)


def destination_rule_hosts(view: View) -> Iterator[Finding]:
    """A rule for a host that no service has does nothing, and is often a misspelt name."""
    for rule in view.of(DestinationRule):
        full = hosts.fully_qualified(rule.spec.host, rule.namespace)
        if rule.spec.host.startswith("*"):
            known = any(hosts.matches(full, each_host.host) for each_host in view.hosts) or full in ("*", "*.local", "*.svc.cluster.local")
        else:
            known = view.host(rule.spec.host, rule.namespace) is not None
        if not known:
            yield finding(UNKNOWN_DESTINATION_RULE_HOST, rule, ("spec", "host"), f"No service has the host {rule.spec.host!r}")
