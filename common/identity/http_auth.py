# SPDX-License-Identifier: Apache-2.0
"""API tokens at an HTTP edge.

    app.add_middleware(Authenticated, verifier=verifier, public={"/v1/roots"})

    @app.get("/things")
    async def things(caller: Annotated[Caller, Depends(require("viewer"))]) -> ...: ...

`Authenticated` closes the whole application: a new route is closed unless somebody opens it, and neither path parameters nor a body
are parsed for a stranger (FastAPI reads and parses a body before it runs any dependency). `authenticated` is the same check as a
dependency, for one router; `require` names the role and needs one of them before it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from fastapi import HTTPException, Request

from common.identity.errors import TokenError
from common.identity.tokens import Caller, Role, TokenVerifier, bearer_token

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="fourmast"'}
LARGEST_BODY = 1024 * 1024  # bytes


class Authenticated:
    """ASGI middleware: 401 unless the request bears a valid token or asks for a public path; 413 for a body beyond the cap."""

    def __init__(self, app: ASGIApp, *, verifier: TokenVerifier, public: Collection[str] = (), largest_body: int = LARGEST_BODY) -> None:
        self._app, self._verifier, self._public, self._largest = app, verifier, frozenset(public), largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"] not in self._public:
            try:
                caller = self._verifier.verify(bearer_token(headers.get(b"authorization", b"").decode("latin-1")))
            except TokenError as error:
                await _refuse(send, 401, error.code, str(error))
                return
            scope.setdefault("state", {})["caller"] = caller
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._largest:
            await _refuse(send, 413, "TOO_LARGE", f"a body may have at most {self._largest} bytes")
            return
        await self._app(scope, _Capped(receive, self._largest), send)


class _Capped:
    """A body without a declared length ends, as if the client had gone, when it passes the cap."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive, self._left = receive, largest

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                return {"type": "http.disconnect"}
        return message


async def _refuse(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"detail": {"code": code, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", CHALLENGE["WWW-Authenticate"].encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
    """A dependency that answers 403 unless the caller's role includes `role`. Without an authentication before it, 401."""

    async def caller(request: Request) -> Caller:
        found: Caller | None = getattr(request.state, "caller", None)
        if found is None:
            raise HTTPException(401, {"code": "MISSING", "message": "a bearer token is needed"}, headers=CHALLENGE)
        if not found.has(role):
            message = f"this needs the role {role}; {found.name} has the role {found.role}"
            raise HTTPException(403, {"code": "ROLE", "message": message})
        return found

    return caller
