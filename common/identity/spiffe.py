# SPDX-License-Identifier: Apache-2.0
"""SPIFFE ids of the mesh: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

Istio 1.4 accepts any path and logs empty segments; here an id is parsed once, strictly, so that no later comparison can be fooled by
a fifth segment, an escape or a change of case.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?")
_SEGMENT = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_FORM = "spiffe://<trust domain>/ns/<namespace>/sa/<service account>"


class SpiffeId(NamedTuple):
    """The identity of a workload. Build it by `of` or `parse`; the plain constructor checks nothing."""

    trust_domain: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def principal(self) -> str:
        """The same without its scheme: how authorization rules write it."""
        return str(self).removeprefix("spiffe://")

    @classmethod
    def of(cls, trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
        """A checked id. Raises ValueError naming the wrong segment."""
        if not _TRUST_DOMAIN.fullmatch(trust_domain):
            raise ValueError(f"trust domain {trust_domain!r} is not a lower-case DNS name")
        if not _SEGMENT.fullmatch(namespace):
            raise ValueError(f"namespace {namespace!r} is not a DNS label")
        if not _SEGMENT.fullmatch(service_account):
            raise ValueError(f"service account {service_account!r} is not a DNS name")
        return cls(trust_domain, namespace, service_account)

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Raises ValueError with the expected form when `text` has another."""
        scheme, _, rest = text.partition("://")
        segments = rest.split("/")
        if scheme != "spiffe" or len(segments) != 5 or segments[1] != "ns" or segments[3] != "sa":
            raise ValueError(f"{text!r} is not of the form {_FORM}")
        return cls.of(segments[0], segments[2], segments[4])
