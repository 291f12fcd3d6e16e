# SPDX-License-Identifier: Apache-2.0
"""Which Gateways a gateway proxy serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.config.kinds.networking import Gateway
from common.config.resource import Resource, ResourceKey
from pilot.model.labels import selects
from pilot.model.order import oldest_first


class Gateways:
    """All Gateways, oldest first. Namespaces do not restrict them: labels alone select (Istio 1.4's default)."""

    def __init__(self, resources: Iterable[Resource[Gateway]]):
        self._all = tuple(oldest_first(resources))
        self._by_key = {resource.key: resource for resource in self._all}

    def selecting(self, labels: Mapping[str, str]) -> tuple[ResourceKey, ...]:
        """Keys of the Gateways whose selector the proxy's labels meet; no selector means every gateway proxy."""
        return tuple(resource.key for resource in self._all if selects(resource.spec.selector, labels))

    def get(self, key: ResourceKey) -> Resource[Gateway] | None:
        return self._by_key.get(key)
