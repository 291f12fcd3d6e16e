# SPDX-License-Identifier: Apache-2.0
"""The secrets that Envoy asks for by name, made from an identity: `default` (certificate and key) and `ROOTCA` (trust bundle)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from common.identity.material import KeyMaterial
from common.mesh.names import SDS_CERTIFICATE, SDS_ROOTS


class Versioned(NamedTuple):
    """A secret, and a version that changes exactly when it does. The version is public: it is no hash of a key."""

    version: str
    secret: Secret

    def __repr__(self) -> str:
        return f"Versioned({self.version!r}, {self.secret.name!r})"


def secrets_of(material: KeyMaterial) -> Mapping[str, Versioned]:
    """Name -> secret."""
    certificate = Secret(name=SDS_CERTIFICATE)
    certificate.tls_certificate.certificate_chain.inline_bytes = material.certificate_chain_pem
    certificate.tls_certificate.private_key.inline_bytes = material.private_key_pem
    roots = Secret(name=SDS_ROOTS)
    roots.validation_context.trusted_ca.inline_bytes = material.roots_pem
    return {
        SDS_CERTIFICATE: Versioned(material.serial, certificate),
        SDS_ROOTS: Versioned(hashlib.sha256(material.roots_pem).hexdigest()[:16], roots),
    }
