# SPDX-License-Identifier: Apache-2.0
"""Bodies of the admin interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
HOUR, DAY = 3600, 86_400


class Body(BaseModel):
    """camelCase on the wire; unknown fields are refused, so that a misspelt bound never means no bound."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


class NewToken(Body):
    """POST /v1/tokens."""

    namespace: Name
    service_account: Name
    labels: dict[Name, Annotated[str, StringConstraints(max_length=253)]] = Field(
        default={}, max_length=32, description="labels that the workload must have with exactly these values"
    )
    ttl_seconds: int = Field(HOUR, gt=0, le=366 * DAY)
    uses: int = Field(1, ge=0, description="0: any number until it expires")


class NewTokenAnswer(Body):
    """The token's text is told here and nowhere again."""

    id: str
    token: str
    expires_at: float
    join_file: dict[str, Any]


class Token(Body):
    """GET /v1/tokens: everything but the secret."""

    id: str
    namespace: str
    service_account: str
    labels: dict[str, str]
    uses: int
    used: int
    created_at: float
    created_by: str
    expires_at: float
    last_used_at: float
    revoked_at: float | None


class Certificate(Body):
    """GET /v1/certificates."""

    serial: str
    spiffe_id: str
    labels: dict[str, str]
    not_before: float
    not_after: float
    issued_at: float
    authenticator: str
    credential: str
    peer: str
    root: str
    key_hash: str
    revoked_at: float | None


class Revocation(Body):
    """POST /v1/revoke."""

    kind: Literal["serial", "spiffe_id", "token"]
    subject: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    reason: Annotated[str, StringConstraints(max_length=1024)] = ""


class Revoked(Body):
    revoked: int


class NewApiToken(Body):
    """POST /v1/api-tokens."""

    name: Name
    role: Literal["viewer", "editor", "admin"]
    namespaces: list[Name] = Field(default=[], max_length=64, description="what the token is bounded to; none: all namespaces")
    ttl_seconds: int = Field(8 * HOUR, gt=0, le=366 * DAY)


class NewApiTokenAnswer(Body):
    token: str
    expires_at: float
