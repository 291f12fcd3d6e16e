# SPDX-License-Identifier: Apache-2.0
"""How host names with wildcards relate, and what a short name means. Hosts are compared without regard to case."""

from __future__ import annotations

from common.mesh.names import SERVICE_DOMAIN


def matches(a: str, b: str) -> bool:
    """Whether some name belongs to both."""
    a, b = a.lower(), b.lower()
    if a.startswith("*") and b.startswith("*"):
        return a[1:].endswith(b[1:]) or b[1:].endswith(a[1:])
    if a.startswith("*"):
        return b.endswith(a[1:])
    if b.startswith("*"):
        return a.endswith(b[1:])
    return a == b


def sort_key(host: str) -> tuple[str, bool]:
    """The name from its end, without its wildcard, and whether it had one: names that match then stand side by side."""
    host = host.lower()
    return host.removeprefix("*")[::-1], host.startswith("*")


def is_subset(a: str, b: str) -> bool:
    """Whether every name of `a` belongs to `b`."""
    a, b = a.lower(), b.lower()
    if b.startswith("*"):
        return a.removeprefix("*").endswith(b[1:])
    return a == b


def fully_qualified(host: str, namespace: str) -> str:
    """`reviews` in namespace `default` -> `reviews.default.svc.cluster.local`; names with a dot or a wildcard stay as they are."""
    return host if "." in host or host.startswith("*") else f"{host}.{namespace or 'default'}.{SERVICE_DOMAIN}"
