# SPDX-License-Identifier: Apache-2.0
"""The names that Pilot writes into Envoy's access log and Mixer reads back: log names, tags, and the headers that are logged."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

LOG_NAME_PREFIX: Final = "istio."
"""`istio.inbound` and `istio.outbound`: the log's name tells Mixer the direction."""

REQUEST_HEADERS: Final = ("content-type", "x-b3-traceid", "x-client-trace-id", "x-forwarded-for")
RESPONSE_HEADERS: Final = ("grpc-message", "grpc-status")
RESPONSE_TRAILERS: Final = ("grpc-message", "grpc-status")


class Tag(StrEnum):
    """Custom tags of an entry. Short, because each travels with every request."""

    FLAGS = "f"
    """Response flags in Envoy's short form; `-` when there are none."""
    CLUSTER_SERVICE = "c"
    """Service of the chosen cluster, as `join_service` writes it."""
    ROUTE_SERVICE = "r"
    """Service of the chosen route: all there is when no cluster was reached."""
    CHECKED = "k"
    """Present on routes on which Mixer is asked."""
    UPSTREAM_PEER = "p"
    """URI SAN of the server that an outbound connection met."""
    UPSTREAM_LOCAL = "l"
    """URI SAN that the proxy itself showed there."""
