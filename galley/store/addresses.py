# SPDX-License-Identifier: Apache-2.0
"""Service addresses out of 240.240.0.0/16, given when a Service or ServiceEntry is written and kept as long as it lives.

The range is reserved and never routed, so an address can only mean a service of the mesh. Where an address starts its search depends on
the object's name alone: a service that is deleted and made again usually gets its old address, which long-lived clients may still hold.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from typing import Any

import msgspec

from common.config.kinds.core import Service
from common.config.kinds.networking import ServiceEntry
from common.config.problem import Problem
from common.config.resource import Resource
from galley.errors import InvalidError
from galley.store.model import Snapshot

RANGE = ipaddress.ip_network("240.240.0.0/16")
_SIZE = 256 * 254  # last octet 1 to 254, so that no address looks like a network or a broadcast


def with_address(resource: Resource[Any], previous: Resource[Any] | None, snapshot: Snapshot) -> Resource[Any]:
    """The resource with a service address where it needs one: that of `previous` if it had one from the range, else a free one."""
    spec = resource.spec
    if isinstance(spec, Service):
        if spec.clusterIP or spec.type == "ExternalName":
            return resource
        kept = previous.spec.clusterIP if previous is not None and isinstance(previous.spec, Service) else ""
        address = kept if _allocated(kept) else _free(resource, snapshot)
        return _replace(resource, msgspec.structs.replace(spec, clusterIP=address))
    if isinstance(spec, ServiceEntry):
        if spec.addresses or spec.resolution == "NONE" or any(host.startswith("*") for host in spec.hosts):
            return resource
        if any(endpoint.address.startswith("unix:") for endpoint in spec.endpoints):
            return resource
        old = previous.spec.addresses if previous is not None and isinstance(previous.spec, ServiceEntry) else ()
        address = old[0] if len(old) == 1 and _allocated(old[0]) else _free(resource, snapshot)
        return _replace(resource, msgspec.structs.replace(spec, addresses=(address,)))
    return resource


def _replace(resource: Resource[Any], spec: Any) -> Resource[Any]:
    return msgspec.structs.replace(resource, spec=spec)


def _allocated(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in RANGE
    except ValueError:
        return False


def _free(resource: Resource[Any], snapshot: Snapshot) -> str:
    used = set(_used(snapshot))
    digest = hashlib.sha256(f"{resource.kind.name}/{resource.namespace}/{resource.name}".encode()).digest()
    start = int.from_bytes(digest[:4]) % _SIZE
    for step in range(_SIZE):
        high, low = divmod((start + step) % _SIZE, 254)
        address = f"240.240.{high}.{low + 1}"
        if address not in used:
            return address
    raise InvalidError((Problem(path="spec", message=f"no service address of {RANGE} is free; delete unused services"),), key=resource.key)


def _used(snapshot: Snapshot) -> Iterator[str]:
    for stored in snapshot.collection("k8s/core/v1/services").objects.values():
        yield stored.resource.spec.clusterIP
    for stored in snapshot.collection("istio/networking/v1alpha3/serviceentries").objects.values():
        yield from stored.resource.spec.addresses
