# SPDX-License-Identifier: Apache-2.0
"""Which configuration a refused Envoy resource is the fault of.

Many objects go into one resource: all routes of port 80 are one. The proxy took it before, so what has changed since then is to blame. If it
never took it, nothing tells the objects apart and each of them is named.
"""

from __future__ import annotations

from collections.abc import Callable

from common.config.resource import ResourceKey


def blamed(sources: tuple[ResourceKey, ...], accepted: int, since: Callable[[ResourceKey], int]) -> tuple[ResourceKey, ...]:
    """Those of `sources` that changed after the epoch `accepted`, by `since` (the epoch that has an object as it is now); else all."""
    if not accepted:
        return sources
    return tuple(source for source in sources if since(source) > accepted) or sources
