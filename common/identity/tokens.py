# SPDX-License-Identifier: Apache-2.0
"""API tokens: ES256 JWTs that Citadel signs and every part verifies offline, from Citadel's public keys.

They open the REST, debug and introspection interfaces. They are not join tokens (those are opaque and single-use) and no identity of a
workload (that is its certificate). Verification fails closed: without keys nothing is accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import KeySet

from common.identity.errors import TokenError
from common.identity.material import Jwks
from common.mesh.names import ROOT_NAMESPACE

Role = Literal["viewer", "editor", "admin"]
RANK: Final[dict[str, int]] = {"viewer": 0, "editor": 1, "admin": 2}

ISSUER: Final = f"istio-citadel.{ROOT_NAMESPACE}"
AUDIENCE: Final = "fourmast-api"
ALGORITHM: Final = "ES256"
LONGEST: Final = 4096  # characters; more is refused before it is parsed
LEEWAY: Final = 30  # seconds by which clocks may differ


class Caller(NamedTuple):
    """Who sends an API request. `namespaces` bounds what a viewer sees and an editor changes; empty means all but the root namespace."""

    name: str
    role: Role
    namespaces: frozenset[str] = frozenset()

    def has(self, role: Role) -> bool:
        """Whether this caller's role includes `role`."""
        return RANK[self.role] >= RANK[role]

    def may_read(self, namespace: str) -> bool:
        return self.role == "admin" or not self.namespaces or namespace in self.namespaces

    def may_edit(self, namespace: str) -> bool:
        """The root namespace and cluster-scoped objects (namespace "") are for admins: they change the whole mesh."""
        if self.role == "admin":
            return True
        return self.role == "editor" and namespace not in ("", ROOT_NAMESPACE) and self.may_read(namespace)


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    aud: str
    sub: str
    exp: float
    role: Role
    iat: float = 0
    nbf: float = 0
    namespaces: tuple[str, ...] = ()


class TokenVerifier:
    """Checks API tokens against a key set that may change while the process runs."""

    def __init__(self, keys: Callable[[], Jwks], *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._raw: Jwks | None = None
        self._set: KeySet | None = None

    @classmethod
    def from_jwks(cls, source: Path | Callable[[], Jwks], *, clock: Callable[[], float] = time.time) -> TokenVerifier:
        """`source` is a JWKS file (read again when it changes) or a function that returns the present key set, cheaply and without I/O."""
        return cls(source if callable(source) else _file(source), clock=clock)

    def verify(self, token: str) -> Caller:
        """The token's caller. Raises TokenError; its text says what is wrong without repeating the token."""
        if not token:
            raise TokenError("MISSING", "a bearer token is needed")
        if len(token) > LONGEST:
            raise TokenError("MALFORMED", f"the token is longer than {LONGEST} characters")
        try:
            payload = jwt.decode(token, self._key_set(), algorithms=[ALGORITHM]).claims
            claims = msgspec.convert(payload, _Claims)
        except BadSignatureError as error:
            raise TokenError("SIGNATURE", "the token is not signed by this mesh's Citadel") from error
        except (JoseError, ValueError) as error:
            raise TokenError("MALFORMED", "the token is not a well-formed API token of this mesh") from error
        except msgspec.ValidationError as error:
            raise TokenError("CLAIMS", f"the token's claims are wrong: {error}") from error
        if claims.iss != ISSUER or claims.aud != AUDIENCE:
            raise TokenError("CLAIMS", f"the token is meant for {claims.aud!r}, not for this API")
        now = self._clock()
        if now > claims.exp + LEEWAY:
            raise TokenError("EXPIRED", "the token has expired")
        if now < max(claims.iat, claims.nbf) - LEEWAY:
            raise TokenError("CLAIMS", "the token is not valid yet")
        return Caller(claims.sub, claims.role, frozenset(claims.namespaces))

    def _key_set(self) -> KeySet:
        raw = self._keys()
        if self._set is None or raw is not self._raw:
            if not raw.get("keys"):
                raise TokenError("NO_KEYS", "no keys to check tokens with; this part has not joined the mesh yet")
            self._set, self._raw = KeySet.import_key_set(dict(raw)), raw  # type: ignore[arg-type]  # a JWKS is a plain mapping
        return self._set


def bearer_token(header: str | None) -> str:
    """The token of an `Authorization: Bearer` header; empty when there is none."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _file(path: Path) -> Callable[[], Jwks]:
    read: tuple[tuple[int, int], dict[str, Any]] | None = None

    def keys() -> Jwks:
        nonlocal read
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if read is None or read[0] != stamp:
                read = (stamp, msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
        except (OSError, msgspec.DecodeError) as error:
            raise TokenError("NO_KEYS", f"the key set {path} cannot be read") from error
        return read[1]

    return keys
