# SPDX-License-Identifier: Apache-2.0
"""Small worlds of configuration for conversations about MCP."""

from __future__ import annotations

from typing import Any

from common.config import kinds
from common.config.resource import Metadata, Resource, encode
from common.mcp.snapshot import CollectionState, Entry

assert kinds  # importing it registers every kind

VIRTUAL_SERVICES = kinds.networking.VIRTUAL_SERVICE.collection
GATEWAYS = kinds.networking.GATEWAY.collection


def virtual_service(name: str, version: int, host: str = "") -> Resource[Any]:
    spec = kinds.networking.VirtualService(hosts=(host or name,))
    metadata = Metadata(name=name, namespace="default", resourceVersion=str(version))
    return Resource(kind=kinds.networking.VIRTUAL_SERVICE, metadata=metadata, spec=spec)


def entry(name: str, version: int, host: str = "") -> Entry:
    return Entry(f"default/{name}", str(version), encode(virtual_service(name, version, host)))


def state(revision: int, *entries: Entry, traceparent: str = "", collection: str = VIRTUAL_SERVICES) -> CollectionState:
    return CollectionState.of(f"{collection}/{revision}", entries, traceparent)
