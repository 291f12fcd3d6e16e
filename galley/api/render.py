# SPDX-License-Identifier: Apache-2.0
"""Objects and lists as bytes. A stored body is sent as it is; only its `status` is appended, and to Kubernetes' own kinds their defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.registry import Kind
from common.config.resource import Resource, ResourceKey, encode
from galley.api.backend import Parts
from galley.api.defaults import with_defaults
from galley.api.tables import Item, TableForm, table
from galley.status.conditions import status_of
from galley.store.model import Stored

_JSON = msgspec.json.Encoder()


def with_status(parts: Parts, stored: Stored) -> bytes:
    """The stored object with what is known about it."""
    return _joined(stored.key, stored.body, _status(parts, stored))


def as_if(parts: Parts, stored: Stored) -> bytes:
    """What a dry run would have stored. What is known about the present object stays, so that `kubectl diff` shows the change alone."""
    present = parts.store.snapshot.get(stored.key)
    if present is None:
        return with_defaults(stored.key.collection, stored.body)
    metadata = msgspec.structs.replace(stored.resource.metadata, resourceVersion=str(present.revision))
    return _joined(stored.key, encode(msgspec.structs.replace(stored.resource, metadata=metadata)), _status(parts, present))


def _status(parts: Parts, stored: Stored) -> dict[str, Any]:
    findings = parts.findings.of(stored.key, stored.revision)
    return status_of(stored, parts.reports.of(stored.key), findings, analyzed_since=parts.findings.since(stored.key))


def _joined(key: ResourceKey, body: bytes, status: dict[str, Any]) -> bytes:
    return with_defaults(key.collection, body[:-1] + b',"status":' + _JSON.encode(status) + b"}" if status else body)


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


def list_document(kind: Kind, version: str, bodies: Iterable[bytes]) -> bytes:
    head = _JSON.encode({"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": {"resourceVersion": version}})
    return head[:-1] + b',"items":[' + b",".join(bodies) + b"]}"


def version_of(parts: Parts, kind: Kind) -> str:
    """The version of a list of this kind now: a watch goes on from there."""
    feed = parts.workload_feed
    return feed.version(feed.now) if kind is WORKLOAD_ENTRY else str(parts.store.snapshot.revision)


def table_item(parts: Parts, resource: Resource[Any], body: bytes) -> Item:
    """An object with what a table says beside it."""
    stored = parts.store.snapshot.get(resource.key)
    if stored is None:
        return Item(resource, body)
    findings = parts.findings.of(stored.key, stored.revision)
    codes = None if findings is None else tuple(dict.fromkeys(finding.code for finding in findings if finding.level != "Info"))
    return Item(resource, body, stored.origin, codes)


def table_of(parts: Parts, form: TableForm, kind: Kind, pairs: Iterable[tuple[Resource[Any], bytes]]) -> bytes:
    return table(form, kind, version_of(parts, kind), (table_item(parts, resource, body) for resource, body in pairs))
