# SPDX-License-Identifier: Apache-2.0
"""Service addresses out of 240.240.0.0/16, given when a Service or ServiceEntry is written and kept as long as it lives.

The range is reserved and never routed, so an address can only mean a service of the mesh. Where an address starts its search depends on
the object's name alone: a service that is deleted and made again usually gets its old address, which long-lived clients may still hold.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter
from typing import Any

import msgspec

from common.config.kinds.core import SERVICE, Service
from common.config.kinds.networking import SERVICE_ENTRY, ServiceEntry
from common.config.problem import Problem
from common.config.resource import Resource
from galley.errors import InvalidError
from galley.store.model import Draft

RANGE = ipaddress.ip_network("240.240.0.0/16")
_SIZE = 256 * 254  # last octet 1 to 254, so that no address looks like a network or a broadcast


class Addresses:
    """Gives addresses while a plan is made, and knows which are in use in its draft."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._used: Counter[str] | None = None  # counted at the first search; users may write one address twice

    def given(self, resource: Resource[Any], previous: Resource[Any] | None) -> Resource[Any]:
        """The resource with a service address where it needs one: that of `previous` if it had one from the range, else a free one."""
        spec = resource.spec
        if isinstance(spec, Service):
            if spec.clusterIP or spec.type == "ExternalName":
                return resource
            kept = previous.spec.clusterIP if previous is not None and isinstance(previous.spec, Service) else ""
            address = kept if _allocated(kept) else self._free(resource)
            return _replace(resource, msgspec.structs.replace(spec, clusterIP=address))
        if isinstance(spec, ServiceEntry):
            if spec.addresses or spec.resolution == "NONE" or any(host.startswith("*") for host in spec.hosts):
                return resource
            if any(endpoint.address.startswith("unix:") for endpoint in spec.endpoints):
                return resource
            old = previous.spec.addresses if previous is not None and isinstance(previous.spec, ServiceEntry) else ()
            address = old[0] if len(old) == 1 and _allocated(old[0]) else self._free(resource)
            return _replace(resource, msgspec.structs.replace(spec, addresses=(address,)))
        return resource

    def taken(self, resource: Resource[Any] | None, previous: Resource[Any] | None) -> None:
        """Call before a change is applied to the draft: None for what is not there before or after it."""
        if self._used is not None:
            self._used.update(_addresses_of(resource))
            self._used.subtract(_addresses_of(previous))

    def _free(self, resource: Resource[Any]) -> str:
        if self._used is None:
            stored = (s for kind in (SERVICE, SERVICE_ENTRY) for s in self._draft.objects(kind.collection).values())
            self._used = Counter(address for each in stored for address in _addresses_of(each.resource))
        digest = hashlib.sha256(f"{resource.kind.name}/{resource.namespace}/{resource.name}".encode()).digest()
        start = int.from_bytes(digest[:4]) % _SIZE
        for step in range(_SIZE):
            high, low = divmod((start + step) % _SIZE, 254)
            address = f"240.240.{high}.{low + 1}"
            if self._used[address] <= 0:
                return address
        raise InvalidError(
            (Problem(path="spec", message=f"no service address of {RANGE} is free; delete unused services"),), key=resource.key
        )


def _replace(resource: Resource[Any], spec: Any) -> Resource[Any]:
    return msgspec.structs.replace(resource, spec=spec)


def _allocated(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in RANGE
    except ValueError:
        return False


def _addresses_of(resource: Resource[Any] | None) -> tuple[str, ...]:
    match resource.spec if resource is not None else None:
        case Service(clusterIP=address):
            return (address,)
        case ServiceEntry(addresses=addresses):
            return addresses
        case _:
            return ()
