# SPDX-License-Identifier: Apache-2.0
"""Signing API tokens: the counterpart of `common.identity.tokens`."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from citadel.errors import RequestError
from common.identity.certificates import key_pem, new_key
from common.identity.tokens import ALGORITHM, AUDIENCE, ISSUER, RANK, Role

LONGEST = timedelta(days=366)


def new_api_key() -> bytes:
    """A new P-256 key for signing tokens, PEM."""
    return key_pem(new_key())


class TokenSigner:
    """Signs with the first key; the public set names all, so that tokens of an older key stay valid until they expire."""

    def __init__(self, keys_pem: Collection[bytes]) -> None:
        self._keys = [ECKey.import_key(pem) for pem in keys_pem]
        for key in self._keys:
            key.ensure_kid()
        self.jwks: dict[str, Any] = {
            "keys": [{**key.as_dict(private=False), "use": "sig", "alg": ALGORITHM} for key in self._keys],
        }

    def sign(self, name: str, role: Role, *, namespaces: Collection[str] = (), lifetime: timedelta, now: datetime) -> str:
        """A token for `name`. Raises RequestError(INVALID) for a lifetime or role that is not given out."""
        if not timedelta(0) < lifetime <= LONGEST:
            raise RequestError("INVALID", f"an API token lasts more than 0 and at most {LONGEST.days} days")
        if role not in RANK or not name:
            raise RequestError("INVALID", f"an API token needs a name and one of the roles {', '.join(RANK)}")
        issued = int(now.timestamp())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": name,
            "role": role,
            "iat": issued,
            "exp": issued + int(lifetime.total_seconds()),
            "jti": secrets.token_hex(8),
        }
        if namespaces:
            claims["namespaces"] = sorted(namespaces)
        key = self._keys[0]
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])
