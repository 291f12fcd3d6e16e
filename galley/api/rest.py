# SPDX-License-Identifier: Apache-2.0
"""The REST application: authentication before everything that reads a body or says anything about the mesh."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from common.identity.http_auth import authenticated
from common.identity.tokens import TokenVerifier
from common.telemetry.tracing import UNTRACED_HTTP
from galley.api import status_object
from galley.api.backend import Backend
from galley.api.batch import batch_routes
from galley.api.discovery import discovery_routes, version_document
from galley.api.extras import extra_routes
from galley.api.objects import object_routes
from galley.api.openapi import openapi_routes
from galley.api.rollback import rollback_routes
from galley.api.traces import accepting, trace_routes


def rest_app(backend: Backend, verifier: TokenVerifier) -> FastAPI:
    """Everything but the version and the probes needs a token signed by Citadel."""
    app = FastAPI(title="Galley", docs_url=None, redoc_url=None, openapi_url=None, telemetry=UNTRACED_HTTP)
    status_object.install(app)

    @app.get("/version")
    async def version() -> dict[str, str]:
        return version_document()

    @app.get("/healthz")
    @app.get("/livez")
    async def healthz() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> Response:
        if backend.parts is None:
            return JSONResponse({"ready": False, "reason": backend.reason}, 503)
        return PlainTextResponse("ok")

    guard = [Depends(authenticated(verifier)), Depends(accepting)]
    routers = (batch_routes, extra_routes, trace_routes, rollback_routes)
    for router in (*(routes(backend) for routes in routers), discovery_routes(), openapi_routes(), object_routes(backend)):
        app.include_router(router, dependencies=guard)
    return app
