# SPDX-License-Identifier: Apache-2.0
"""What Sidecar resources let the proxies of a namespace see.

Of a Sidecar only `egress[].hosts` counts here, and only when it selects no workloads: one for its namespace, or in the root namespace for all
that have none of their own. Sidecars with a `workloadSelector`, listeners of their own and traffic policies are stored and not followed yet.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.config.kinds.networking import Sidecar
from common.config.resource import Resource
from pilot.model import hosts
from pilot.model.order import oldest_first

NOWHERE = "~"


class Imports:
    """The hosts that a Sidecar brings into view, by the namespace that must have them."""

    def __init__(self, sidecar: Sidecar, namespace: str):
        self._by_namespace: dict[str, set[str]] = {}
        for listener in sidecar.egress:
            for entry in listener.hosts:
                space, slash, name = entry.partition("/")
                if slash and space != NOWHERE:
                    self._by_namespace.setdefault(namespace if space == "." else space, set()).add(name)

    def admits(self, namespace: str, host: str) -> bool:
        """Whether something of this namespace with this host name is seen."""
        for space in (namespace, "*"):
            names = self._by_namespace.get(space, ())
            if host in names or any(hosts.overlaps(name, host) for name in names if hosts.is_wildcard(name) or hosts.is_wildcard(host)):
                return True
        return False


class Sidecars:
    """All Sidecars that say something about what is seen."""

    def __init__(self, resources: Iterable[Resource[Sidecar]], *, root: str):
        self._root = root
        self._by_namespace: dict[str, Sidecar] = {}
        for resource in oldest_first(resources):
            selector = resource.spec.workloadSelector
            if resource.spec.egress and not (selector is not None and selector.labels):
                self._by_namespace.setdefault(resource.namespace, resource.spec)

    def imports(self, namespace: str) -> Imports | None:
        """What proxies of this namespace import; None when no Sidecar restricts them."""
        sidecar = self._by_namespace.get(namespace) or self._by_namespace.get(self._root)
        return Imports(sidecar, namespace) if sidecar is not None else None
