# SPDX-License-Identifier: Apache-2.0
"""The door of this room: which groups a proxy needs, what a group depends on, and what it contains.

A *group* is a set of Envoy resources that many proxies share. It is generated once per distinct `GroupKey`, never once per proxy, so a key holds
only what really changes the output:

* shared resources hold no proxy address and no identity: certificates are SDS names, the proxy's own names appear nowhere;
* outbound clusters, endpoints and routes are keyed by *scope* (the namespace whose view it is; later a Sidecar resource) and by proxy type;
  routes also by which `sourceLabels` conditions the proxy meets;
* endpoints are keyed by the service and the subset's labels, not by scope, so that all scopes share them; by locality only when
  locality load balancing is on;
* outbound listeners are keyed by scope and interception mode; in NONE mode also by the address on which they are bound;
* inbound resources are keyed by the services that select the workload (ports), the mutual-TLS mode of each port, and the addresses of
  listener and application; replicas share them in REDIRECT mode, because their applications listen on 127.0.0.1 alike;
* gateway resources are keyed by the Gateways that select the proxy.

`plan` must be asked again after every push: the groups of a proxy change with configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import NamedTuple

from common.config.resource import ResourceKey
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext


class GroupKey(NamedTuple):
    """Identity of a group. `parts` are values, so equal keys of different pushes mean the same group."""

    type_url: str
    kind: str
    parts: tuple[Hashable, ...]


class Generated(NamedTuple):
    """One Envoy resource: its name, its deterministically serialized message, and the configuration that it came from (for NACK attribution)."""

    name: str
    body: bytes
    sources: tuple[ResourceKey, ...]


def plan(push: PushContext, proxy: Proxy, type_url: str, names: Collection[str] | None) -> tuple[GroupKey, ...]:
    """The groups whose union is the proxy's resources of this type, in sending order.

    `names` are the explicitly subscribed names (EDS, RDS); None is a wildcard (CDS, LDS). Every subscribed name of RDS and EDS is answered,
    with an empty resource when nothing is known about it, so that Envoy never waits. Pass a frozenset to have the result remembered within a push.
    """
    raise NotImplementedError


def fingerprint(push: PushContext, key: GroupKey) -> Hashable:
    """A cheap value: equal fingerprints of one key in two pushes mean equal output."""
    raise NotImplementedError


def generate(push: PushContext, key: GroupKey) -> tuple[Generated, ...]:
    """The resources of a group. Pure and deterministic: same snapshot content and key, same bytes. Never raises for bad configuration."""
    raise NotImplementedError
