# SPDX-License-Identifier: Apache-2.0
"""The snapshot from which everything is generated. Immutable: a change makes a new one, which shares what did not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from copy import copy
from itertools import compress
from operator import is_, is_not, itemgetter
from typing import Any, TypeVar

from common.checkprotocol.epoch import POLICY_COLLECTIONS
from common.config.kinds.authentication import MESH_POLICY, PEER_AUTHENTICATION, POLICY
from common.config.kinds.mesh import MESH_CONFIG, MeshConfig
from common.config.kinds.mixer import QUOTA_SPEC, QUOTA_SPEC_BINDING
from common.config.kinds.networking import DESTINATION_RULE, GATEWAY, SIDECAR, VIRTUAL_SERVICE
from common.config.resource import Resource, ResourceKey
from pilot.model.authentication import PeerPolicies
from pilot.model.destination_rules import DestinationRules
from pilot.model.digest import combine, resource_digest, value_digest
from pilot.model.gateways import Gateways
from pilot.model.memo import Memo
from pilot.model.mesh import mesh_config
from pilot.model.scope import Scope, Seen
from pilot.model.sidecars import Sidecars
from pilot.model.virtual_services import RoutingRules
from pilot.registry.catalog import COLLECTIONS as SERVICE_COLLECTIONS
from pilot.registry.catalog import Digested, ServiceCatalog

Resources = Mapping[str, Mapping[str, Resource[Any]]]
"""Collection name -> MCP name (`namespace/name`) -> resource, as the MCP sink holds them."""

T = TypeVar("T")
Changed = AbstractSet[ResourceKey]

_AUTHENTICATION = (PEER_AUTHENTICATION.collection, POLICY.collection, MESH_POLICY.collection)
_CHECK_COLLECTIONS = (QUOTA_SPEC.collection, QUOTA_SPEC_BINDING.collection, MESH_CONFIG.collection)

_FINGERPRINTED = (*(kind.collection for kind in (GATEWAY, MESH_CONFIG, QUOTA_SPEC, QUOTA_SPEC_BINDING)), *_AUTHENTICATION)
"""Small collections of which a group depends on the whole."""

_DIGESTED = (*SERVICE_COLLECTIONS, VIRTUAL_SERVICE.collection, DESTINATION_RULE.collection, SIDECAR.collection, *_FINGERPRINTED)

COLLECTIONS = (*_DIGESTED, *POLICY_COLLECTIONS)
"""What Pilot subscribes to. Of Mixer's own configuration it reads only the versions."""


class PushContext:
    """One consistent view of services, endpoints and configuration. Made by `build` only."""

    digested: dict[str, Digested]
    digests: dict[str, bytes]
    catalog: ServiceCatalog
    routing: RoutingRules
    destinations: DestinationRules
    sidecars: Sidecars
    gateways: Gateways
    peer_policies: PeerPolicies
    memo: Memo

    def __init__(self, resources: Resources, previous: PushContext | None):
        self.resources = resources
        found = {name: _digest_all(name, resources, previous) for name in _DIGESTED}
        self.digested = {name: digested for name, (digested, _) in found.items()}
        self._changed = {name: changed for name, (_, changed) in found.items()}
        self.digests = {
            name: previous.digests[name]
            if previous is not None and not self._changed[name]
            else combine(digest for _, digest in self.digested[name].values())
            for name in _FINGERPRINTED
        }
        self.mesh = mesh_config(resources)
        self.mesh_digest = self.digests[MESH_CONFIG.collection]
        self._previous = previous
        mesh = self.mesh
        self.catalog = self._unless_changed(
            SERVICE_COLLECTIONS,
            lambda of: (of.trustDomain, of.defaultServiceExportTo),
            lambda old: old.catalog,
            lambda: ServiceCatalog(self.digested, mesh, previous.catalog if previous is not None else None, self._changed),
        )
        self.routing = self._unless_changed(
            (VIRTUAL_SERVICE.collection,),
            lambda of: of.defaultVirtualServiceExportTo,
            lambda old: old.routing,
            lambda: RoutingRules(self.digested[VIRTUAL_SERVICE.collection], default_export=mesh.defaultVirtualServiceExportTo),
        )
        self.destinations = self._unless_changed(
            (DESTINATION_RULE.collection,),
            lambda of: (of.rootNamespace, of.defaultDestinationRuleExportTo),
            lambda old: old.destinations,
            lambda: DestinationRules(
                self.digested[DESTINATION_RULE.collection], root=mesh.rootNamespace, default_export=mesh.defaultDestinationRuleExportTo
            ),
        )
        self.sidecars = self._unless_changed(
            (SIDECAR.collection,),
            lambda of: of.rootNamespace,
            lambda old: old.sidecars,
            lambda: Sidecars(resources.get(SIDECAR.collection, {}).values(), root=mesh.rootNamespace),
        )
        self.gateways = self._unless_changed(
            (GATEWAY.collection,),
            lambda of: None,
            lambda old: old.gateways,
            lambda: Gateways(resources.get(GATEWAY.collection, {}).values()),
        )
        self.peer_policies = self._unless_changed(
            _AUTHENTICATION,
            lambda of: of.rootNamespace,
            lambda old: old.peer_policies,
            lambda: PeerPolicies(
                peer_authentications=resources.get(PEER_AUTHENTICATION.collection, {}).values(),
                policies=resources.get(POLICY.collection, {}).values(),
                mesh_policies=resources.get(MESH_POLICY.collection, {}).values(),
                root=mesh.rootNamespace,
            ),
        )
        self.authentication_digest = combine((*(self.digests[name] for name in _AUTHENTICATION), mesh.rootNamespace.encode()))
        self.locality_digest = value_digest(mesh.localityLbSetting)
        self.policy_versions = tuple(
            sorted(
                (name, resource.key.mcp_name, resource.metadata.resourceVersion)
                for name in POLICY_COLLECTIONS
                for resource in resources.get(name, {}).values()
            )
        )
        """Everything that Mixer's answers depend on, by stored version: what the policy epoch of cached checks is made of."""
        self.check_digest = combine((value_digest(self.policy_versions), *(self.digests[name] for name in _CHECK_COLLECTIONS)))
        self.memo = Memo(previous.memo if previous is not None else None)
        self._scopes: dict[tuple[str, bool], Scope] = {}
        self._seen: dict[tuple[str, bool], Seen] = {}
        self._serving: dict[str, bytes] = {}
        self._first: PushContext | None = None
        self._previous = None  # only building may look back: a chain of snapshots would never be freed

    @classmethod
    def build(cls, resources: Resources, previous: PushContext | None = None) -> PushContext:
        """Index `resources`. Whatever is equal to its counterpart in `previous` is taken over, so a small change costs little.

        Never raises for a bad object: an object that cannot be used is left out. The caller must not change `resources` afterwards.
        """
        push = cls(resources, previous)
        if (
            previous is not None
            and push.destinations is previous.destinations
            and push.sidecars is previous.sidecars
            and push.catalog.digest == previous.catalog.digest
        ):
            push._seen.update(previous._seen)
            if push.routing is previous.routing:
                push._scopes.update(previous._scopes)
        return push

    def afresh(self) -> PushContext:
        """The same snapshot as if it were the first, with nothing remembered: to prove what is remembered."""
        if self._first is None:
            self._first = PushContext(self.resources, None)
        again = copy(self._first)
        again.memo = Memo()
        return again

    def scope(self, namespace: str, *, router: bool = False) -> Scope:
        """What proxies of this namespace see. Sidecar resources do not restrict gateways (routers)."""
        key = (namespace, router)
        known = self._scopes.get(key)
        if known is None:
            seen = self._seen.get(key)
            if seen is None:
                imports = None if router else self.sidecars.imports(namespace)
                seen = self._seen.setdefault(key, Seen(namespace, self.catalog.services, self.destinations, imports))
            known = self._scopes.setdefault(key, Scope(seen, self.routing))
        return known

    def serving_digest(self, namespace: str) -> bytes:
        """`ServiceCatalog.serving_digest`, remembered."""
        known = self._serving.get(namespace)
        return known if known is not None else self._serving.setdefault(namespace, self.catalog.serving_digest(namespace))

    def _unless_changed(
        self,
        collections: tuple[str, ...],
        settings: Callable[[MeshConfig], object],
        take: Callable[[PushContext], T],
        make: Callable[[], T],
    ) -> T:
        """The previous snapshot's index if nothing that it was made of changed: neither the objects nor the `settings` of the mesh."""
        old = self._previous
        if old is not None and not any(self._changed[name] for name in collections) and settings(old.mesh) == settings(self.mesh):
            return take(old)
        return make()


def _digest_all(collection: str, resources: Resources, previous: PushContext | None) -> tuple[Digested, Changed]:
    """Content hashes of a collection in the order of keys, and which keys have others than before. The very same objects keep theirs."""
    current = resources.get(collection, {})
    if previous is None:
        return _sorted({resource.key: (resource, resource_digest(resource)) for resource in current.values()}), frozenset()
    before = previous.resources.get(collection, {})
    known = previous.digested[collection]
    if current is before:
        return known, frozenset()
    replaced = _replaced(before, current)
    gone = [before[name].key for name in before.keys() - current.keys()] if len(current) < len(before) + len(replaced) else []
    if not (replaced or gone):
        return known, frozenset()
    digested = dict(known)
    for key in gone:
        del digested[key]
    changed = set(gone)
    as_sorted = True
    for resource in replaced:
        key = resource.key
        digest = resource_digest(resource)
        old = known.get(key)
        if old is None or old[1] != digest:
            changed.add(key)
        as_sorted = as_sorted and old is not None
        digested[key] = (resource, digest)
    return (digested if as_sorted else _sorted(digested)), changed


def _replaced(before: Mapping[str, Resource[Any]], current: Mapping[str, Resource[Any]]) -> list[Resource[Any]]:
    """What is not the very object that it was. Mostly the names and their order are the same: then C compares, 20 times as fast."""
    if len(before) == len(current) and all(map(is_, before, current)):
        return list(compress(current.values(), map(is_not, before.values(), current.values())))
    return [resource for name, resource in current.items() if before.get(name) is not resource]


def _sorted(digested: Digested) -> Digested:
    return dict(sorted(digested.items(), key=itemgetter(0)))
