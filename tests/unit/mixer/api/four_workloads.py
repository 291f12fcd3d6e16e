# SPDX-License-Identifier: Apache-2.0
"""A small mesh for the tests of this folder: two of its four workloads share a service account."""

from __future__ import annotations

import common.config.kinds  # noqa: F401 - registers WorkloadEntry
from common.config.resource import from_document
from common.identity.spiffe import SpiffeId
from mixer.api.attributes_of_peers import PeerAttributes
from mixer.attributes.workloads import WorkloadIndex

RATINGS = SpiffeId("cluster.local", "default", "ratings")
REVIEWS = SpiffeId("cluster.local", "default", "reviews")

_WORKLOADS = (
    ("ratings-v1", "ratings", "10.0.0.1"),
    ("reviews-v1", "reviews", "10.0.0.2"),
    ("reviews-v2", "reviews", "10.0.0.3"),
    ("details-v1", "details", "10.0.0.4"),
)
INDEX = WorkloadIndex(
    from_document(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"address": place, "serviceAccount": account, "labels": {"app": account, "version": name.rpartition("-")[2]}},
        }
    )
    for name, account, place in _WORKLOADS
)
PEERS = PeerAttributes(INDEX)


def address(text: str) -> bytes:
    """Octets of a dotted address."""
    return bytes(map(int, text.split(".")))
