# SPDX-License-Identifier: Apache-2.0
"""nftables rules: Istio 1.4's interception in a workload's namespace, and the filter that guards the control plane in the hub's.

Rules are values that read as `nft` prints them and go to the kernel over netlink, because a fresh machine has neither nft nor iptables.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from common.mesh import names

Expression = dict[str, Any]
Hook = Literal["prerouting", "input", "output"]

TABLE: Final = "istio"
_REGISTER: Final = 1
_EQUAL, _NOT_EQUAL = 0, 1
_META = {"iifname": 6, "oifname": 7, "skuid": 10, "skgid": 11, "l4proto": 16}
_CT_STATE: Final = 0
_ESTABLISHED_OR_RELATED: Final = 0x2 | 0x4
_VERDICTS = {"drop": 0, "accept": 1, "return": -5}
_TCP: Final = 6
_DSTNAT: Final = -100  # priority of both nat hooks, as iptables has it
_RETURN_PORTS: Final = (22, names.SIDECAR_STATUS, names.SIDECAR_STATS)
"""Inbound ports that are never captured: ssh, and what the sidecar itself answers in plaintext."""
_SERVICES: Final = "240.240.0.0/16"
"""Addresses that Galley gives to services. They are on no wire."""


@dataclass(frozen=True, slots=True)
class Term:
    """One match or verdict: the words of nft, and the kernel's expressions for them."""

    text: str
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain and its rules, in evaluation order."""

    name: str
    type: Literal["nat", "filter"]
    hook: Hook
    priority: int
    rules: tuple[tuple[Term, ...], ...]

    def __str__(self) -> str:
        lines = [f"chain {self.name} {{", f"\ttype {self.type} hook {self.hook} priority {self.priority};"]
        lines += ["\t" + " ".join(term.text for term in rule) for rule in self.rules]
        return "\n".join([*lines, "}"])


def _expression(name: str, *attributes: tuple[str, Any]) -> Expression:
    data = {"attrs": [(f"NFTA_{name.upper()}_{key}", value) for key, value in attributes]}
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", data)]}


def _compare(value: bytes, operator: int = _EQUAL) -> Expression:
    return _expression("cmp", ("SREG", _REGISTER), ("OP", operator), ("DATA", {"attrs": [("NFTA_DATA_VALUE", value)]}))


def _meta(key: str, value: bytes) -> tuple[Expression, ...]:
    return _expression("meta", ("DREG", _REGISTER), ("KEY", _META[key])), _compare(value)


def _payload(base: int, offset: int, length: int) -> Expression:
    return _expression("payload", ("DREG", _REGISTER), ("BASE", base), ("OFFSET", offset), ("LEN", length))


def _interface(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def oifname(name: str) -> Term:
    return Term(f'oifname "{name}"', _meta("oifname", _interface(name)))


def iifname(name: str) -> Term:
    return Term(f'iifname "{name}"', _meta("iifname", _interface(name)))


def skuid(uid: int) -> Term:
    return Term(f"meta skuid {uid}", _meta("skuid", struct.pack("=I", uid)))


def skgid(gid: int) -> Term:
    return Term(f"meta skgid {gid}", _meta("skgid", struct.pack("=I", gid)))


def tcp() -> Term:
    return Term("meta l4proto tcp", _meta("l4proto", bytes([_TCP])))


def dport(port: int) -> Term:
    return Term(f"tcp dport {port}", (*_meta("l4proto", bytes([_TCP])), _payload(2, 2, 2), _compare(struct.pack("!H", port))))


def saddr(address: str) -> Term:
    return Term(f"ip saddr {address}", (_payload(1, 12, 4), _compare(ipaddress.IPv4Address(address).packed)))


def daddr(address: str, *, negated: bool = False) -> Term:
    packed = ipaddress.IPv4Address(address).packed
    return Term(f"ip daddr {'!= ' if negated else ''}{address}", (_payload(1, 16, 4), _compare(packed, _NOT_EQUAL if negated else _EQUAL)))


def to_services() -> Term:
    first_octets = ipaddress.IPv4Network(_SERVICES).network_address.packed[:2]
    return Term(f"ip daddr {_SERVICES}", (_payload(1, 16, 2), _compare(first_octets)))


def established() -> Term:
    mask, zero = struct.pack("=I", _ESTABLISHED_OR_RELATED), bytes(4)
    bits = _expression(
        "bitwise",
        ("SREG", _REGISTER),
        ("DREG", _REGISTER),
        ("LEN", 4),
        ("MASK", {"attrs": [("NFTA_DATA_VALUE", mask)]}),
        ("XOR", {"attrs": [("NFTA_DATA_VALUE", zero)]}),
    )
    return Term(
        "ct state established,related", (_expression("ct", ("DREG", _REGISTER), ("KEY", _CT_STATE)), bits, _compare(zero, _NOT_EQUAL))
    )


def redirect(port: int) -> Term:
    load = _expression("immediate", ("DREG", _REGISTER), ("DATA", {"attrs": [("NFTA_DATA_VALUE", struct.pack("!H", port))]}))
    return Term(f"redirect to :{port}", (load, _expression("redir", ("REG_PROTO_MIN", _REGISTER))))


def verdict(word: Literal["accept", "drop", "return"]) -> Term:
    data = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", _VERDICTS[word])]})]}
    return Term(word, (_expression("immediate", ("DREG", 0), ("DATA", data)),))


def interception() -> tuple[Chain, ...]:
    """Istio 1.4's REDIRECT mode with `-u 1337 -i * -b *`, in its order of evaluation.

    The loopback rule has no owner match, as in 1.4: what a workload sends to its own address passes its own inbound listener.

    The last chain is ours. Until a proxy has a listener for a service it passes calls on to the service's address, in vain; and the
    kernel would remember each unanswered try for two minutes, as one that is not to be redirected: the application's next connection from
    the same port to that service would go nowhere, too. What is dropped here is not remembered.
    """
    leave = verdict("return")
    inbound = Chain(
        name="istio_inbound",
        type="nat",
        hook="prerouting",
        priority=_DSTNAT,
        rules=(*((dport(port), leave) for port in _RETURN_PORTS), (tcp(), redirect(names.SIDECAR_INBOUND))),
    )
    output = Chain(
        name="istio_output",
        type="nat",
        hook="output",
        priority=_DSTNAT,
        rules=(
            (oifname("lo"), saddr(names.PASSTHROUGH_BIND), leave),
            (oifname("lo"), daddr("127.0.0.1", negated=True), tcp(), redirect(names.SIDECAR_INBOUND)),
            (skuid(names.PROXY_UID), leave),
            (skgid(names.PROXY_UID), leave),
            (daddr("127.0.0.1"), leave),
            (tcp(), redirect(names.SIDECAR_OUTBOUND)),
        ),
    )
    nowhere = Chain(
        name="proxy_to_nowhere", type="filter", hook="output", priority=0, rules=((skuid(names.PROXY_UID), to_services(), verdict("drop")),)
    )
    return inbound, output, nowhere


def guard(bridge: str, ports: Iterable[int]) -> tuple[Chain, ...]:
    """What workloads may reach in the hub: these ports of the control plane, and answers to what the hub asked."""
    allowed = tuple((iifname(bridge), dport(port), verdict("accept")) for port in ports)
    rules = ((iifname(bridge), established(), verdict("accept")), *allowed, (iifname(bridge), verdict("drop")))
    return (Chain(name="guard", type="filter", hook="input", priority=0, rules=rules),)


def apply(chains: Sequence[Chain]) -> None:
    """Install the chains in the network namespace of the calling thread. Raises pyroute2's NetlinkError where the kernel refuses."""
    from pyroute2.nftables.main import NFTables

    with NFTables(nfgen_family=2) as nft:
        nft.table("add", name=TABLE)
        for chain in chains:
            nft.chain(
                "add", table=TABLE, name=chain.name, hook=chain.hook, type=chain.type, priority=chain.priority, policy=_VERDICTS["accept"]
            )
            for rule in chain.rules:
                nft.rule("add", table=TABLE, chain=chain.name, expressions=[term.expressions for term in rule])
