# SPDX-License-Identifier: Apache-2.0
"""/metrics, /healthz, /ready and /version: what probes and Prometheus ask, without secrets and so without a token."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from common.lifecycle.component import Life
from common.telemetry.metrics import process_registry
from common.telemetry.tracing import UNTRACED_HTTP


def monitoring_app(lives: Mapping[str, Life]) -> FastAPI:
    """`/ready` is the conjunction of all components in the process and names those that are not ready, with the reason."""
    app = FastAPI(title="monitoring", docs_url=None, redoc_url=None, openapi_url=None, telemetry=UNTRACED_HTTP)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(process_registry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/ready")
    async def ready() -> Response:
        waiting = {name: life.reason for name, life in lives.items() if life.reason is not None}
        remarks = {name: life.remark for name, life in lives.items() if life.remark is not None}
        return JSONResponse({"ready": not waiting, "waiting": waiting, "remarks": remarks}, 503 if waiting else 200)

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": importlib.metadata.version("fourmast-common")}

    return app
