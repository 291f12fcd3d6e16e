# SPDX-License-Identifier: Apache-2.0
"""API tokens at a FastAPI edge.

    router = APIRouter(dependencies=[Depends(authenticated(verifier))])

    @router.get("/things")
    async def things(caller: Annotated[Caller, Depends(require("viewer"))]) -> ...: ...

`authenticated` stands at the router (or the app), so that a new route is closed unless somebody opens it; `require` names the role.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request

from common.identity.errors import TokenError
from common.identity.tokens import Caller, Role, TokenVerifier

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="fourmast"'}


def bearer_token(header: str | None) -> str:
    """The token of an `Authorization: Bearer` header; empty when there is none."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def authenticated(verifier: TokenVerifier) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that answers 401 unless the request bears a valid token, and yields its caller."""

    async def caller(request: Request) -> Caller:
        try:
            found = verifier.verify(bearer_token(request.headers.get("authorization")))
        except TokenError as error:
            raise HTTPException(401, {"code": error.code, "message": str(error)}, headers=CHALLENGE) from error
        request.state.caller = found
        return found

    return caller


def require(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that answers 403 unless the caller's role includes `role`. Needs `authenticated` before it; without it, 401."""

    async def caller(request: Request) -> Caller:
        found: Caller | None = getattr(request.state, "caller", None)
        if found is None:
            raise HTTPException(401, {"code": "MISSING", "message": "a bearer token is needed"}, headers=CHALLENGE)
        if not found.has(role):
            message = f"this needs the role {role}; {found.name} has the role {found.role}"
            raise HTTPException(403, {"code": "ROLE", "message": message})
        return found

    return caller
