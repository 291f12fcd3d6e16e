# SPDX-License-Identifier: Apache-2.0
"""Keeps what Ingresses mean up to date beside what was configured, with versions that are never used for other content."""

from __future__ import annotations

from collections.abc import Iterable

from common.config.kinds.core import SERVICE
from common.config.kinds.ingress import INGRESS, INGRESS_EXTENSIONS, INGRESS_V1BETA1
from common.config.kinds.mesh import MESH_CONFIG, MeshConfig
from common.config.kinds.networking import GATEWAY, VIRTUAL_SERVICE
from common.config.resource import encode
from common.mcp.snapshot import Entry
from common.mesh.names import ROOT_NAMESPACE
from galley.distribution.ingress import derived
from galley.store.store import Store

INGRESSES = tuple(kind.collection for kind in (INGRESS, INGRESS_V1BETA1, INGRESS_EXTENSIONS))
_INPUTS = frozenset((*INGRESSES, SERVICE.collection, MESH_CONFIG.collection))
_OUTPUTS = (GATEWAY.collection, VIRTUAL_SERVICE.collection)


class IngressTranslation:
    """What is derived from the store's present Ingresses."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entries: dict[str, dict[str, Entry]] = {}
        """Derived entries by collection and MCP name; empty as long as there was never an Ingress."""
        self.revisions: dict[str, int] = {}
        """The revision at which the derived part of a collection changed last."""

    def depends_on(self, collections: Iterable[str]) -> bool:
        return any(name in _INPUTS for name in collections)

    def update(self) -> tuple[str, ...]:
        """Derive again. Returns the collections of which the derived part is another one now."""
        snapshot = self._store.snapshot
        if not any(snapshot.collection(name).revision for name in INGRESSES):
            return ()
        mesh = snapshot.collection(MESH_CONFIG.collection).objects.get((ROOT_NAMESPACE, "default"))
        resources = derived(
            (stored.resource for name in INGRESSES for stored in snapshot.collection(name).objects.values()),
            {place: stored.resource.spec for place, stored in snapshot.collection(SERVICE.collection).objects.items()},
            mesh.resource.spec if mesh is not None else MeshConfig(),
        )
        found: dict[str, dict[str, Entry]] = {name: {} for name in _OUTPUTS}
        for resource in resources:
            key = resource.key
            entry = Entry(key.mcp_name, resource.metadata.resourceVersion, encode(resource))
            known = self.entries.get(key.collection, {}).get(entry.name)
            found[key.collection][entry.name] = known if known is not None and known.version == entry.version else entry
        changed = tuple(name for name in _OUTPUTS if found[name] != self.entries.get(name))
        newest = max(snapshot.collection(name).revision for name in _INPUTS)
        self.entries = found
        self.revisions.update(dict.fromkeys(changed, newest))
        return changed
