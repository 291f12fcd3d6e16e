# SPDX-License-Identifier: Apache-2.0
"""Who may subscribe to the whole configuration: Pilot and Mixer of this mesh, by their certificates, and nobody else.

An access list can name others instead. Istio 1.4 let everyone in while its file was missing; here a list that cannot be read lets nobody in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import yaml

from common.identity.spiffe import SpiffeId
from common.identity.tls import peer_identity
from common.mcp.server import Context
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS

log = structlog.get_logger("mcp")

CONSUMERS = ("pilot", "mixer")
LARGEST_LIST = 1 << 20  # bytes


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


def only_listed(path: Path) -> Callable[[Context], str]:
    """The check by an access list, read again for each new stream: the list of this moment decides."""
    return lambda context: listed(path, peer_identity(context))


class _AccessList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"is_blacklist": "isblacklist"}):
    """Istio 1.4's file. Its `isblacklist: true` let everyone in who was not named, and is refused."""

    allowed: tuple[str, ...]
    is_blacklist: bool = False


def listed(path: Path, peer: SpiffeId | None) -> str:
    """The peer's name when the list at `path` has its SPIFFE id. Raises PermissionError when it has not, or cannot be read."""
    try:
        with path.open("rb") as file:
            found = msgspec.convert(yaml.safe_load(file.read(LARGEST_LIST)), _AccessList)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        log.error("the access list cannot be read, so nobody may subscribe", file=str(path), reason=str(error))
        raise PermissionError("the access list of this Galley cannot be read, so nobody may subscribe") from error
    if found.is_blacklist:
        log.error("the access list names who may not subscribe; name those who may", file=str(path))
        raise PermissionError("the access list of this Galley does not say who may subscribe, so nobody may")
    if peer is None or str(peer) not in found.allowed:
        raise PermissionError(f"{peer or 'a caller without a SPIFFE id'} is not in the access list of this Galley")
    return str(peer)
