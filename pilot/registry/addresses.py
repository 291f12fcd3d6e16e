# SPDX-License-Identifier: Apache-2.0
"""Virtual addresses of services, in the one form in which they can be compared."""

from __future__ import annotations

import ipaddress


def virtual_address(text: str) -> str | None:
    """An address or a CIDR block; a block of one address is that address. None for what is neither, and for the unspecified address."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if network.num_addresses == 1:
        return None if network.network_address.is_unspecified else str(network.network_address)
    return str(network)
