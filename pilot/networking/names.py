# SPDX-License-Identifier: Apache-2.0
"""Names of generated resources, as Istio 1.4 spells them: people and tools parse them."""

from __future__ import annotations

from typing import Final, NamedTuple

BLACK_HOLE: Final = "BlackHoleCluster"
PASSTHROUGH: Final = "PassthroughCluster"
INBOUND_PASSTHROUGH: Final = "InboundPassthroughClusterIpv4"
VIRTUAL_OUTBOUND: Final = "virtualOutbound"
VIRTUAL_INBOUND: Final = "virtualInbound"
WILDCARD_ADDRESS: Final = "0.0.0.0"


class ClusterName(NamedTuple):
    """`direction|port|subset|host`; inbound clusters have the port's name in the place of the subset."""

    direction: str
    port: int
    subset: str
    host: str

    def __str__(self) -> str:
        return f"{self.direction}|{self.port}|{self.subset}|{self.host}"

    @property
    def sni(self) -> str:
        """The server name by which a client tells the other proxy what it meant."""
        return f"{self.direction}_.{self.port}_.{self.subset}_.{self.host}"

    @classmethod
    def parse(cls, text: str) -> ClusterName | None:
        """None when the text has another form."""
        parts = text.split("|")
        if len(parts) != 4 or not parts[1].isdecimal():
            return None
        return cls(parts[0], int(parts[1]), parts[2], parts[3])


def outbound_cluster(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(host: str, port: int, port_name: str) -> str:
    return f"inbound|{port}|{port_name}|{host}"
