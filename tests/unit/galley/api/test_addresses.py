# SPDX-License-Identifier: Apache-2.0
"""Which address of a workload counts."""

from __future__ import annotations

import pytest

from galley.api.registration import address_of


@pytest.mark.parametrize(
    ("declared", "peer", "expected"),
    [
        ("10.9.9.9", "ipv4:10.0.0.7:4123", "10.0.0.7"),
        ("", "ipv4:10.0.0.7:4123", "10.0.0.7"),
        ("127.10.0.5", "ipv4:127.0.0.1:4123", "127.10.0.5"),
        ("", "ipv4:127.0.0.1:4123", "127.0.0.1"),
        ("10.9.9.9", "ipv6:%5Bfd00::7%5D:4123", "fd00::7"),
        ("10.9.9.9", "ipv6:%5B::ffff:10.0.0.7%5D:4123", "10.0.0.7"),
        ("127.10.0.5", "ipv6:%5B::1%5D:4123", "127.10.0.5"),
        ("10.0.0.8", "unix:", "10.0.0.8"),
        ("::ffff:10.0.0.8", "unix:", "10.0.0.8"),
    ],
)
def test_the_connections_address_counts_unless_it_is_our_own_host(declared: str, peer: str, expected: str) -> None:
    assert address_of(declared, peer) == expected


@pytest.mark.parametrize(
    "declared", ["0.0.0.0", "224.0.0.1", "169.254.169.254", "example.com", "::", "::ffff:0.0.0.0", "::ffff:169.254.169.254"]
)
def test_addresses_that_nobody_could_reach(declared: str) -> None:
    with pytest.raises(ValueError, match="address"):
        address_of(declared, "ipv4:127.0.0.1:1")


def test_over_a_unix_socket_an_address_must_be_declared() -> None:
    with pytest.raises(ValueError, match="Unix socket"):
        address_of("", "unix:")
