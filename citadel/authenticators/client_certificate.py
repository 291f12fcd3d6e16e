# SPDX-License-Identifier: Apache-2.0
"""The caller's present certificate: how a member renews.

Istio 1.4 copied every name of any certificate that chained to the root. Here it must be a leaf that this Citadel recorded, valid now,
not revoked, with the one SPIFFE id that the record says; label bounds are copied from the record.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from sqlalchemy import Connection

from citadel.authenticators.contract import Evidence, Proven
from citadel.errors import CallerError
from citadel.store import certificates
from common.database import Writer
from common.identity.certificates import spiffe_id_of


class ClientCertificates:
    """TLS has verified the chain and the caller's possession of the key; this decides whether it may go on."""

    name = "client-certificate"

    def __init__(self, store: Writer, trust_domain: str) -> None:
        self._store = store
        self._trust_domain = trust_domain

    async def prove(self, evidence: Evidence, *, now: datetime) -> Proven | None:
        presented = evidence.certificate
        if presented is None:
            return None
        spiffe_id = spiffe_id_of(presented)
        if spiffe_id is None or spiffe_id.trust_domain != self._trust_domain or _may_sign(presented):
            raise CallerError("CERTIFICATE", "the client certificate is not that of a workload of this mesh")
        if not presented.not_valid_before_utc <= now < presented.not_valid_after_utc:
            raise CallerError("CERTIFICATE", "the client certificate has expired; join with a token")
        serial = f"{presented.serial_number:x}"
        row = await self._store.transaction(lambda c: certificates.renewable(c, serial))
        if row.spiffe_id != str(spiffe_id):
            raise CallerError("CERTIFICATE", "the client certificate is not the one on record")
        return Proven(spiffe_id=spiffe_id, label_bounds=row.label_bounds, authenticator=self.name, credential=serial)

    def spend(self, connection: Connection, evidence: Evidence, *, key_hash: str, now: datetime) -> None:
        """A certificate may renew as often as it likes while it is valid; the rate limit bounds it."""


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
