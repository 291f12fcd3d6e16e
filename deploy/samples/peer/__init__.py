# SPDX-License-Identifier: Apache-2.0
"""Who answers at an address? A TLS handshake that verifies the peer against given roots and prints its SPIFFE id."""
