# SPDX-License-Identifier: Apache-2.0
"""Who may subscribe to the whole configuration: Pilot and Mixer of this mesh, by their certificates, and nobody else.

Istio 1.4 read an access list from a file and let everyone in when the file was missing; a closed list in code cannot go missing.
"""

from __future__ import annotations

from collections.abc import Callable

from common.identity.spiffe import SpiffeId
from common.identity.tls import peer_identity
from common.mcp.server import Context
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS

CONSUMERS = ("pilot", "mixer")


def part_of(peer: SpiffeId | None, trust_domain: str, parts: tuple[str, ...] = CONSUMERS) -> str:
    """Which of `parts` the peer is. Raises PermissionError saying who came and who may."""
    if peer is not None and peer.trust_domain == trust_domain and peer.namespace == ROOT_NAMESPACE:
        for part in parts:
            if peer.service_account == SERVICE_ACCOUNTS[part]:
                return part
    raise PermissionError(f"{peer or 'a caller without a SPIFFE id'} may not do this; it is for {' and '.join(parts)} of {trust_domain}")


def only_consumers(trust_domain: str) -> Callable[[Context], str]:
    """The check of the MCP server."""
    return lambda context: part_of(peer_identity(context), trust_domain)
