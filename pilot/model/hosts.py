# SPDX-License-Identifier: Apache-2.0
"""Host names as configuration writes them: short names, wildcards, and the variants by which a request may ask for a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.mesh.names import SERVICE_DOMAIN


def qualify(host: str, namespace: str) -> str:
    """A host without a dot is a service of `namespace`; everything else, `*` included, is already complete."""
    if "." in host or host == "*" or not host:
        return host
    return f"{host}.{namespace}.{SERVICE_DOMAIN}"


def is_wildcard(host: str) -> bool:
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """True when every name that `host` stands for is also one that `pattern` stands for. `*.foo.com` does not cover `foo.com`."""
    if pattern == host:
        return True
    if not is_wildcard(pattern):
        return False
    suffix = pattern[1:]
    name = host[1:] if is_wildcard(host) else host
    return name.endswith(suffix) and (is_wildcard(host) or len(name) > len(suffix) or not suffix)


def overlaps(first: str, second: str) -> bool:
    """True when some name is meant by both (Istio calls this *match*; it is symmetric)."""
    return covers(first, second) or covers(second, first)


def intersection(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """The narrower of each overlapping pair, in the order of `first`, without repetition."""
    narrow: dict[str, None] = {}
    others = tuple(second)
    for mine in first:
        for other in others:
            if covers(other, mine):
                narrow[mine] = None
            elif covers(mine, other):
                narrow[other] = None
    return tuple(narrow)


def specificity(host: str) -> tuple[bool, int, str]:
    """Sort key, most specific first: exact names before wildcards, longer before shorter."""
    return (is_wildcard(host), -len(host), host)


def short_variants(host: str, namespace: str) -> Iterator[str]:
    """Names shorter than `host` that resolve to it inside a namespace, as DNS search domains would make them.

    A neighbour in the same namespace may leave out everything that both domains share; one of another namespace keeps its namespace:
    `foo.ns1.svc.cluster.local` is `foo`, `foo.ns1`, `foo.ns1.svc`, ... in ns1, and `foo.ns1`, `foo.ns1.svc`, ... elsewhere.
    """
    if is_wildcard(host):
        return
    labels = host.split(".")
    domain = f"{namespace}.{SERVICE_DOMAIN}".split(".")
    shared = 0
    while shared < min(len(labels) - 1, len(domain)) and labels[-1 - shared] == domain[-1 - shared]:
        shared += 1
    for cut in range(shared, 0, -1):
        yield ".".join(labels[:-cut])
