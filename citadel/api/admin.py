# SPDX-License-Identifier: Apache-2.0
"""The admin interface: join tokens, issued certificates, revocation, API tokens; roots and public keys for everyone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse

from citadel.api.bodies import (
    Certificate,
    NewApiToken,
    NewApiTokenAnswer,
    NewToken,
    NewTokenAnswer,
    Revocation,
    Revoked,
    Token,
)
from citadel.authority.api_keys import TokenSigner
from citadel.authority.issuing import Authority
from citadel.errors import CitadelError, RequestError
from citadel.store import certificates, tokens
from common.database import Writer
from common.identity.http_auth import Authenticated, require
from common.identity.join_file import JoinFile
from common.identity.spiffe import SpiffeId
from common.identity.tokens import Caller, TokenVerifier

log = structlog.get_logger("admin")

PUBLIC = ("/v1/roots", "/v1/jwks")
LARGEST_BODY = 64 * 1024  # bytes

JoinFiles = Callable[[str, str], JoinFile]
"""(token, spiffe id) -> the join file that carries it."""
Viewer = Annotated[Caller, Depends(require("viewer"))]
Editor = Annotated[Caller, Depends(require("editor"))]
Admin = Annotated[Caller, Depends(require("admin"))]


def admin_app(
    *,
    authority: Authority,
    store: Writer,
    signer: TokenSigner,
    join_file: JoinFiles,
    trust_domain: str,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The application; it is served over HTTPS with Citadel's own certificate."""
    app = FastAPI(title="Citadel", docs_url=None, redoc_url=None, openapi_url=None)
    verifier = TokenVerifier.from_jwks(lambda: signer.jwks)
    app.add_middleware(Authenticated, verifier=verifier, public=PUBLIC, largest_body=LARGEST_BODY)

    @app.exception_handler(CitadelError)
    async def refused(_: Request, error: CitadelError) -> Response:
        status = {"NOT_FOUND": 404, "INVALID": 422}.get(error.code, 500)
        return JSONResponse({"detail": {"code": error.code, "message": str(error)}}, status)

    @app.get("/v1/roots")
    async def roots() -> Response:
        return Response(authority.bundle_pem, media_type="application/x-pem-file")

    @app.get("/v1/jwks")
    async def jwks() -> dict[str, Any]:
        return signer.jwks

    @app.post("/v1/tokens", status_code=201)
    async def create_token(body: NewToken, caller: Editor) -> NewTokenAnswer:
        _check(caller.may_edit(body.namespace), f"{caller.name} may not create tokens for namespace {body.namespace}")
        now = clock()
        row, text = await store.transaction(
            lambda connection: tokens.create(
                connection,
                namespace=body.namespace,
                service_account=body.service_account,
                label_bounds=body.labels,
                uses=body.uses,
                lifetime=timedelta(seconds=body.ttl_seconds),
                created_by=caller.name,
                now=now,
            )
        )
        spiffe_id = str(SpiffeId.of(trust_domain, row.namespace, row.service_account))
        log.info("join token created", token=row.id, spiffe_id=spiffe_id, uses=row.uses, by=caller.name)
        return NewTokenAnswer(id=row.id, token=text, expires_at=row.expires_at, join_file=msgspec.to_builtins(join_file(text, spiffe_id)))

    @app.get("/v1/tokens")
    async def list_tokens(caller: Viewer) -> list[Token]:
        rows = await store.transaction(tokens.listed)
        return [Token(**_labelled(row)) for row in rows if caller.may_read(row.namespace)]

    @app.get("/v1/certificates")
    async def list_certificates(
        caller: Viewer,
        spiffe_id: Annotated[str | None, Query(alias="spiffeId", max_length=1024)] = None,
        expired: bool = False,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> list[Certificate]:
        valid_at = None if expired else clock()
        rows = await store.transaction(lambda c: certificates.listed(c, spiffe_id=spiffe_id, valid_at=valid_at, limit=limit))
        return [Certificate(**_labelled(row)) for row in rows if caller.may_read(SpiffeId.parse(row.spiffe_id).namespace)]

    @app.post("/v1/revoke")
    async def revoke(body: Revocation, caller: Admin) -> Revoked:
        now = clock()
        changed = await store.transaction(
            lambda c: certificates.revoke(c, body.kind, body.subject, reason=body.reason, revoked_by=caller.name, now=now)
        )
        log.warning("revoked", kind=body.kind, subject=body.subject, reason=body.reason, by=caller.name, count=changed)
        return Revoked(revoked=changed)

    @app.post("/v1/api-tokens", status_code=201)
    async def create_api_token(body: NewApiToken, caller: Admin) -> NewApiTokenAnswer:
        if body.role == "admin" and body.namespaces:
            raise RequestError("INVALID", "an admin cannot be bounded to namespaces; use the role editor")
        now, lifetime = clock(), timedelta(seconds=body.ttl_seconds)
        token = signer.sign(body.name, body.role, namespaces=body.namespaces, lifetime=lifetime, now=now)
        log.info("API token created", name=body.name, role=body.role, namespaces=body.namespaces, by=caller.name)
        return NewApiTokenAnswer(token=token, expires_at=(now + lifetime).timestamp())

    return app


def _check(allowed: bool, otherwise: str) -> None:
    if not allowed:
        raise HTTPException(403, {"code": "NAMESPACE", "message": otherwise})


def _labelled(row: tokens.TokenRow | certificates.CertificateRow) -> dict[str, Any]:
    values = row._asdict()
    values["labels"] = values.pop("label_bounds")
    return values
