# SPDX-License-Identifier: Apache-2.0
"""Who asks: a proxy as its node id and metadata describe it, checked against the certificate of its stream."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from common.checkprotocol.script import check_script_digest
from common.mesh.names import SERVICE_DOMAIN
from common.mesh.node import InterceptionMode, NodeId, NodeMetadata, ProxyType
from pilot.model.labels import label_set


@dataclass(frozen=True, slots=True)
class Proxy:
    """One connected Envoy. Generated resources may depend on it only through the keys that `generator.plan` chooses."""

    type: ProxyType
    name: str
    namespace: str
    addresses: tuple[str, ...]
    """Its own addresses, the node id's first."""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    interception: InterceptionMode = "REDIRECT"
    outbound_bind: str = ""
    """NONE mode: where its outbound listeners are bound."""
    application_address: str = "127.0.0.1"
    """Where its inbound clusters find the application."""
    locality: str = ""
    discovers_virtual_hosts: bool = False
    """It gets the virtual hosts of outbound routes as resources of their own (VHDS) instead of inside the route configuration."""
    holds_script: bool = False
    """It has the check filter's text, the very one that this Pilot would send."""
    view: Hashable = field(init=False, repr=False, compare=False)
    """Everything but its name and account, as one value: proxies that are alike in it are planned for once."""

    def __post_init__(self) -> None:
        view = (
            self.type,
            self.namespace,
            self.addresses,
            label_set(self.labels),
            self.interception,
            self.outbound_bind,
            self.application_address,
            self.locality,
            self.discovers_virtual_hosts,
            self.holds_script,
        )
        object.__setattr__(self, "view", view)

    @property
    def domain(self) -> str:
        """DNS search domain: short names resolve inside it."""
        return f"{self.namespace}.{SERVICE_DOMAIN}"

    @property
    def address(self) -> str:
        return self.addresses[0]

    @classmethod
    def from_node(cls, node: NodeId, metadata: NodeMetadata, *, delta: bool, locality: str = "") -> Proxy:
        """Join id and metadata. In REDIRECT mode the application is reached on loopback, in NONE mode on its declared address.

        `locality` is Envoy's own `region/zone/subzone`. Virtual hosts are discovered on delta streams only: Envoy has no other way.
        """
        extra = tuple(address for address in metadata.INSTANCE_IPS.split(",") if address and address != node.ip)
        none = metadata.INTERCEPTION_MODE == "NONE"
        return cls(
            type=node.type,
            name=node.name,
            namespace=node.namespace,
            addresses=(node.ip, *extra),
            labels=metadata.LABELS,
            service_account=metadata.SERVICE_ACCOUNT,
            interception=metadata.INTERCEPTION_MODE,
            outbound_bind=(metadata.OUTBOUND_BIND_ADDRESS or "127.0.0.1") if none else "",
            application_address=(metadata.APPLICATION_ADDRESS or "127.0.0.1") if none else "127.0.0.1",
            locality=locality,
            discovers_virtual_hosts=delta and metadata.VIRTUAL_HOST_DISCOVERY == "ADS",
            holds_script=check_script_digest() == metadata.CHECK_SCRIPT,
        )
