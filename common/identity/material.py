# SPDX-License-Identifier: Apache-2.0
"""A workload's key and certificates at one moment, and the holder that tells its users when they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from cryptography import x509

from common.identity.certificates import spiffe_id_of
from common.identity.spiffe import SpiffeId

log = structlog.get_logger("identity")

Jwks = Mapping[str, Any]
"""A JSON Web Key Set with public keys only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMaterial:
    """One key with its certificates, all PEM. `certificate_chain_pem` begins with the leaf; `roots_pem` is the whole trust bundle."""

    certificate_chain_pem: bytes
    private_key_pem: bytes = field(repr=False)
    roots_pem: bytes
    not_before: datetime
    not_after: datetime
    spiffe_id: SpiffeId
    serial: str
    """Lower-case hexadecimal, as Citadel's list of certificates shows it."""

    @classmethod
    def of(cls, *, certificate_chain_pem: bytes, private_key_pem: bytes, roots_pem: bytes) -> KeyMaterial:
        """Read the leaf. Raises ValueError when it is no certificate or does not hold exactly one SPIFFE id."""
        leaf = x509.load_pem_x509_certificate(certificate_chain_pem)
        spiffe_id = spiffe_id_of(leaf)
        if spiffe_id is None:
            raise ValueError("the certificate does not hold exactly one SPIFFE id")
        return cls(
            certificate_chain_pem=certificate_chain_pem,
            private_key_pem=private_key_pem,
            roots_pem=roots_pem,
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            spiffe_id=spiffe_id,
            serial=f"{leaf.serial_number:x}",
        )


class WorkloadIdentity:
    """The current key material of one workload. Who keeps a copy subscribes; everyone else reads `current` when it needs it."""

    def __init__(self, material: KeyMaterial, api_keys: Jwks | None = None) -> None:
        self._material = material
        self._api_keys: Jwks = api_keys if api_keys is not None else {"keys": []}
        self._subscribers: list[Callable[[KeyMaterial], None]] = []

    @property
    def current(self) -> KeyMaterial:
        return self._material

    @property
    def spiffe_id(self) -> SpiffeId:
        return self._material.spiffe_id

    @property
    def api_keys(self) -> Jwks:
        """Citadel's public keys for API tokens, as of the last renewal: `TokenVerifier.from_jwks(lambda: identity.api_keys)`."""
        return self._api_keys

    def subscribe(self, callback: Callable[[KeyMaterial], None]) -> Callable[[], None]:
        """Call `callback` in the event loop after every change (not now). Returns the function that ends it."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def replace(self, material: KeyMaterial, api_keys: Jwks | None = None) -> None:
        """Put new material in place and tell the subscribers; one that fails does not keep the others from hearing."""
        self._material = material
        if api_keys is not None:
            self._api_keys = api_keys
        for callback in tuple(self._subscribers):
            try:
                callback(material)
            except Exception:
                log.exception("a user of the identity failed to take its new certificate", spiffe_id=str(material.spiffe_id))
