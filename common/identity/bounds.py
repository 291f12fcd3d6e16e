# SPDX-License-Identifier: Apache-2.0
"""Label bounds: what a join token allows its bearer to call itself, carried in the certificate.

A service selects its endpoints by labels, so whoever chooses labels freely can put itself behind any service of its namespace.
Citadel writes the token's bounds into a private, non-critical extension (renewal copies it); Galley reads them from the peer
certificate at registration, without asking Citadel. Istio has no such thing: in Kubernetes the API server decides a pod's labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography import x509

OID: Final = x509.ObjectIdentifier("2.25.211484276533107949157290814246811427217")
"""Under 2.25, where anyone may use a UUID as an arc."""
LARGEST: Final = 4096  # bytes


def bounds_extension(bounds: Mapping[str, str]) -> x509.UnrecognizedExtension:
    """The extension for a certificate. Raises ValueError when the bounds are too large for one."""
    value = msgspec.json.encode(dict(bounds), order="sorted")
    if len(value) > LARGEST:
        raise ValueError(f"label bounds take more than {LARGEST} bytes")
    return x509.UnrecognizedExtension(OID, value)


def bounds_of(certificate: x509.Certificate) -> dict[str, str]:
    """The bounds in a certificate; empty when it has none. Raises ValueError when they cannot be read: then nothing is allowed."""
    try:
        extension = certificate.extensions.get_extension_for_oid(OID).value
    except x509.ExtensionNotFound:
        return {}
    value = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
    return msgspec.json.decode(value, type=dict[str, str])


def outside_bounds(bounds: Mapping[str, str], labels: Mapping[str, str]) -> str | None:
    """The first label that the bounds do not allow, as a sentence for people; None when all are allowed.

    Every bounded label must be there with exactly its value; labels that the bounds do not name are free.
    """
    for key, value in sorted(bounds.items()):
        if labels.get(key) != value:
            return f"label {key} must be {value!r}, the workload has {labels.get(key)!r}"
    return None
