# SPDX-License-Identifier: Apache-2.0
"""The network of a one-machine mesh: a hub namespace with a bridge, and a namespace on it for each workload.

Nothing of it touches the host's own network: the hub has no way out, and the launcher reaches in only by sockets that it opens there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deploy.local import rules
from deploy.local.namespaces import NetworkNamespace

SUBNET: Final = ipaddress.IPv4Network("10.99.0.0/16")
HUB_ADDRESS: Final = "10.99.0.1"
BRIDGE: Final = "mesh"
_UPLINK: Final = "eth0"
_FIRST_WORKLOAD: Final = 256  # workloads begin at 10.99.1.0 + 1; the hub keeps the first 255 addresses
MOST_WORKLOADS: Final = 4000


def workload_address(index: int) -> str:
    """The address of the workload with this number (from 1)."""
    if not 1 <= index <= MOST_WORKLOADS:
        raise ValueError(f"a one-machine mesh has at most {MOST_WORKLOADS} workloads")
    return str(SUBNET[_FIRST_WORKLOAD + index])


class Hub:
    """The hub's namespace: the control plane lives in it, workloads are plugged into its bridge."""

    def __init__(self, control_plane_ports: Iterable[int]) -> None:
        """Make it. `control_plane_ports` are what workloads may reach on it; raises OSError where the process may not."""
        self.namespace = NetworkNamespace()
        self._ports = tuple(control_plane_ports)
        self.namespace.call(self._plumb)

    def attach(self, index: int, *, intercepted: bool) -> NetworkNamespace:
        """A new namespace on the bridge with `workload_address(index)`; `intercepted` installs Istio's rules in it."""
        namespace = NetworkNamespace()
        try:
            self.namespace.call(lambda: self._plug(namespace, index))
            namespace.call(lambda: _settle(workload_address(index), intercepted=intercepted))
        except BaseException:
            namespace.close()
            raise
        return namespace

    def close(self) -> None:
        self.namespace.close()

    def _plumb(self) -> None:
        from pyroute2 import IPRoute

        _without_ipv6()
        with IPRoute() as ip:
            ip.link("set", index=_index(ip, "lo"), state="up")
            ip.link("add", ifname=BRIDGE, kind="bridge")
            bridge = _index(ip, BRIDGE)
            ip.addr("add", index=bridge, address=HUB_ADDRESS, prefixlen=SUBNET.prefixlen)
            ip.link("set", index=bridge, state="up")
        rules.apply(rules.guard(BRIDGE, self._ports))

    def _plug(self, namespace: NetworkNamespace, index: int) -> None:
        from pyroute2 import IPRoute

        name = f"w{index}"
        with IPRoute() as ip:
            ip.link("add", ifname=name, kind="veth", peer={"ifname": _UPLINK, "net_ns_fd": namespace.fileno()})
            ip.link("set", index=_index(ip, name), master=_index(ip, BRIDGE), state="up")


def _settle(address: str, *, intercepted: bool) -> None:
    """Inside a workload's namespace: its address, its routes, its rules."""
    from pyroute2 import IPRoute

    _without_ipv6()
    # Nobody in a workload is root: without this no gateway could listen on port 80.
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    if intercepted:  # before the interface is up, so that no packet is ever sent around the proxy
        rules.apply(rules.interception())
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        uplink = _index(ip, _UPLINK)
        ip.addr("add", index=uplink, address=address, prefixlen=SUBNET.prefixlen)
        ip.link("set", index=uplink, state="up")
        # Service addresses (240.240.0.0/16) are on no wire, but without a route a connection fails before the rules see it.
        ip.route("add", dst="default", gateway=HUB_ADDRESS)


def _without_ipv6() -> None:
    """No rules are written for IPv6, so there shall be none (some kernels have none anyway)."""
    for scope in ("all", "default"):
        switch = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
        if switch.exists():
            switch.write_text("1")


def _index(ip: object, name: str) -> int:
    found = ip.link_lookup(ifname=name)  # type: ignore[attr-defined]
    if not found:
        raise OSError(f"interface {name} did not appear")
    return int(found[0])
