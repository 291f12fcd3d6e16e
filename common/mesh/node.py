# SPDX-License-Identifier: Apache-2.0
"""Proxy id and node metadata: the agent writes them into Envoy's bootstrap, Pilot and Mixer read them.

The id has Istio 1.4's form `type~ip~name.namespace~namespace.svc.cluster.local`; metadata keys are Istio's, plus two for the *none* mode
in which workloads of one host share a network namespace and each owns loopback addresses instead, one for virtual host discovery, and one
for what the proxy holds already.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from common.mesh.names import SERVICE_DOMAIN

ProxyType = Literal["sidecar", "router"]
InterceptionMode = Literal["REDIRECT", "NONE"]


class NodeId(msgspec.Struct, frozen=True, kw_only=True):
    """The four segments of an Envoy node id."""

    type: ProxyType
    ip: str
    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.type}~{self.ip}~{self.name}.{self.namespace}~{self.namespace}.{SERVICE_DOMAIN}"

    @classmethod
    def parse(cls, text: str) -> NodeId:
        """Raises ValueError with the expected form when `text` has another."""
        segments = text.split("~")
        if len(segments) != 4 or segments[0] not in ("sidecar", "router") or "." not in segments[2]:
            raise ValueError(f"node id {text!r} is not of the form type~ip~name.namespace~domain with type sidecar or router")
        name, _, namespace = segments[2].rpartition(".")
        return cls(type="router" if segments[0] == "router" else "sidecar", ip=segments[1], name=name, namespace=namespace)


class NodeMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`node.metadata` of a proxy. All values are strings or string maps, because a protobuf Struct would turn 9080 into 9080.0."""

    NAMESPACE: str
    SERVICE_ACCOUNT: str
    WORKLOAD_NAME: str = ""
    LABELS: dict[str, str] = {}
    INSTANCE_IPS: str = ""
    ISTIO_VERSION: str = "1.4.10"
    INTERCEPTION_MODE: InterceptionMode = "REDIRECT"
    OUTBOUND_BIND_ADDRESS: str = ""
    """NONE mode only: the loopback address on which this proxy's outbound listeners are bound."""
    VIRTUAL_HOST_DISCOVERY: Literal["", "ADS"] = ""
    """`ADS`: this proxy takes the virtual hosts of outbound routes one by one (VHDS over delta ADS, as Envoy 1.40 has it)."""
    CHECK_SCRIPT: str = ""
    """Digest of the check filter's text that Envoy has in its environment (`common.checkprotocol.script`)."""
    APPLICATION_ADDRESS: str = ""
    """NONE mode only: the loopback address on which the application itself listens (inbound listeners are bound on the node's ip)."""
