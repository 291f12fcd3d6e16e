# SPDX-License-Identifier: Apache-2.0
"""The domains of virtual hosts: every way in which a request may name a service, and who has a domain that two claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pilot.model import hosts
from pilot.model.service import Service
from pilot.networking.wire import is_value


def service_domains(service: Service, port: int, namespace: str) -> Iterator[str]:
    """Full and short names and virtual addresses, each with and without the port. Among namespaces only the service's own has more names."""
    names = [service.hostname, *hosts.short_variants(service.hostname, namespace)]
    if service.headless:
        names += [f"*.{name}" for name in names]
    names += [address for address in service.addresses if "/" not in address]
    for name in names:
        yield name
        yield f"{name}:{port}"


def kept_domains(claims: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    """What each claimant keeps: a domain that several claim is the first one's. Envoy refuses a whole configuration for a repeated domain.

    A host's full name (its first two domains, without and with port) is never lost to what is only a short name or an address of another.
    """
    if _are_distinct(claims):
        return claims
    owners: dict[str, int] = {}
    for full in (True, False):
        for number, domains in enumerate(claims):
            for domain in domains[:2] if full else domains[2:]:
                if is_value(domain):
                    owners.setdefault(domain.lower(), number)
    kept = []
    for number, domains in enumerate(claims):
        own = tuple(domain for domain in dict.fromkeys(map(str.lower, domains)) if owners.get(domain) == number)
        kept.append(domains if len(own) == len(domains) else own)
    return kept


def _are_distinct(claims: Sequence[tuple[str, ...]]) -> bool:
    """Mostly so; found without looking at eight thousand domains one by one."""
    whole = "".join(map("".join, claims))
    return whole.islower() and is_value(whole) and len(frozenset().union(*claims)) == sum(map(len, claims))
