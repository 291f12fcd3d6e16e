# SPDX-License-Identifier: Apache-2.0
"""How far each sink is, for people: as rows of a page and as documents of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.mcp.publisher import SinkSync


def sink_rows(sinks: Sequence[SinkSync]) -> list[dict[str, str]]:
    """One row for each collection of each sink; what is not in sync comes first."""
    rows = [
        {
            "sink": sink.peer,
            "node": sink.node_id,
            "since": sink.since,
            "collection": collection.collection,
            "state": collection.state,
            "acked": collection.acked.rpartition("/")[2],
            "wanted": collection.wanted.rpartition("/")[2],
            "reason": collection.reason,
        }
        for sink in sinks
        for collection in sink.collections
    ]
    return sorted(rows, key=lambda row: (row["state"] == "SYNCED", row["sink"], row["node"], row["collection"]))


def sink_documents(sinks: Sequence[SinkSync]) -> list[dict[str, Any]]:
    """One document for each sink."""
    return [
        {
            "sink": sink.peer,
            "node": sink.node_id,
            "since": sink.since,
            "synced": sink.is_synced,
            "collections": [
                {"collection": c.collection, "state": c.state, "acked": c.acked, "wanted": c.wanted, "reason": c.reason}
                for c in sink.collections
            ],
        }
        for sink in sinks
    ]
