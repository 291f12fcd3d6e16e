# SPDX-License-Identifier: Apache-2.0
"""Objects, lists and tables as bytes. A stored body is sent as it is; only its `status` is appended."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import msgspec

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.registry import Kind
from common.config.resource import Resource, ResourceKey, encode
from galley.api.backend import Parts
from galley.status.conditions import status_of
from galley.store.model import Stored

_JSON = msgspec.json.Encoder()


def with_status(parts: Parts, stored: Stored) -> bytes:
    """The stored object with what is known about it."""
    status = status_of(stored, parts.reports.of(stored.key), parts.findings.of(stored.key, stored.revision))
    return stored.body[:-1] + b',"status":' + _JSON.encode(status) + b"}" if status else stored.body


def find(parts: Parts, key: ResourceKey) -> tuple[Resource[Any], bytes] | None:
    """An object with its rendered bytes; a registered workload when nobody configured one of that name."""
    stored = parts.store.snapshot.get(key)
    if stored is not None:
        return stored.resource, with_status(parts, stored)
    if key.collection == WORKLOAD_ENTRY.collection:
        registered = parts.workloads.get((key.namespace, key.name))
        if registered is not None:
            return registered, encode(registered)
    return None


def objects(parts: Parts, kind: Kind) -> list[tuple[Resource[Any], bytes]]:
    """Every object of a kind with its bytes, ordered by namespace and name; workloads include those that agents registered."""
    collection = parts.store.snapshot.collection(kind.collection)
    found = [(stored.resource, with_status(parts, stored)) for stored in collection.objects.values()]
    if kind is WORKLOAD_ENTRY:
        found += [(r, encode(r)) for r in parts.workloads.resources() if (r.namespace, r.name) not in collection.objects]
    return sorted(found, key=lambda pair: (pair[0].namespace, pair[0].name))


def list_document(kind: Kind, revision: int, bodies: Iterable[bytes]) -> bytes:
    head = _JSON.encode({"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": {"resourceVersion": str(revision)}})
    return head[:-1] + b',"items":[' + b",".join(bodies) + b"]}"


def table(revision: int, resources: Iterable[Resource[Any]]) -> bytes:
    """meta.k8s.io/v1 Table, which `kubectl get` prints."""
    columns = [
        {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
        {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0},
    ]
    rows = [
        {
            "cells": [resource.name, _age(resource.metadata.creationTimestamp)],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": resource.metadata},
        }
        for resource in resources
    ]
    return _JSON.encode(
        {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": str(revision)},
            "columnDefinitions": columns,
            "rows": rows,
        }
    )


def _age(timestamp: str) -> str:
    try:
        began = datetime.datetime.fromisoformat(timestamp)
    except ValueError:
        return "<unknown>"
    seconds = int((datetime.datetime.now(datetime.UTC) - began).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"
