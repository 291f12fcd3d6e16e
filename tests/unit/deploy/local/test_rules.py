# SPDX-License-Identifier: Apache-2.0
"""What the rules say; tests/integration/deploy/test_netns.py shows what the kernel makes of them."""

from __future__ import annotations

from deploy.local import rules


def test_interception_is_istios_in_its_order() -> None:
    inbound, output, nowhere = rules.interception()
    assert str(inbound).splitlines()[1:-1] == [
        "\ttype nat hook prerouting priority -100;",
        "\ttcp dport 22 return",
        "\ttcp dport 15020 return",
        "\ttcp dport 15090 return",
        "\tmeta l4proto tcp redirect to :15006",
    ]
    assert str(output).splitlines()[1:-1] == [
        "\ttype nat hook output priority -100;",
        '\toifname "lo" ip saddr 127.0.0.6 return',
        '\toifname "lo" ip daddr != 127.0.0.1 meta l4proto tcp redirect to :15006',
        "\tmeta skuid 1337 return",
        "\tmeta skgid 1337 return",
        "\tip daddr 127.0.0.1 return",
        "\tmeta l4proto tcp redirect to :15001",
    ]
    assert str(nowhere).splitlines()[1:-1] == [
        "\ttype filter hook output priority 0;",
        "\tmeta skuid 1337 ip daddr 240.240.0.0/16 drop",
    ]


def test_the_guard_ends_with_a_refusal() -> None:
    (guard,) = rules.guard("mesh", [15012])
    assert [" ".join(term.text for term in rule) for rule in guard.rules] == [
        'iifname "mesh" ct state established,related accept',
        'iifname "mesh" tcp dport 15012 accept',
        'iifname "mesh" drop',
    ]


def test_numbers_go_to_the_kernel_in_the_byte_order_of_the_wire() -> None:
    *_, comparison = rules.dport(15012).expressions
    (_, data) = comparison["attrs"][1]
    value = dict(data["attrs"])["NFTA_CMP_DATA"]["attrs"][0][1]
    assert value == (15012).to_bytes(2, "big")
