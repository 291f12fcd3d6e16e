# SPDX-License-Identifier: Apache-2.0
"""Errors as Kubernetes' Status objects, which kubectl and every client library can show."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from common.config.registry import registry
from galley.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    GalleyError,
    InvalidError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)

log = structlog.get_logger("api")

CODES: Mapping[type[GalleyError], int] = {
    InvalidError: 422,
    BadRequestError: 400,
    NotFoundError: 404,
    AlreadyExistsError: 409,
    ConflictError: 409,
    ForbiddenError: 403,
    ExpiredError: 410,
    TooLargeError: 413,
    UnavailableError: 503,
}
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 415: "UnsupportedMediaType"}


def status_document(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        document["details"] = dict(details)
    return document


def of_error(error: GalleyError) -> dict[str, Any]:
    """The Status of a GalleyError; problems become `details.causes`."""
    details: dict[str, Any] = {}
    if error.key is not None:
        kind = registry.by_collection(error.key.collection)
        details = {"name": error.key.name, "group": kind.group if kind else "", "kind": kind.name if kind else ""}
    if isinstance(error, InvalidError):
        details["causes"] = [{"reason": "FieldValueInvalid", "field": p.path, "message": p.message} for p in error.problems]
    if isinstance(error, UnavailableError):
        details["retryAfterSeconds"] = 1
    return status_document(CODES.get(type(error), 500), error.reason, str(error), details)


def install(app: FastAPI) -> None:
    """Answer every failure of `app` with a Status."""

    @app.exception_handler(GalleyError)
    async def on_galley_error(_: Request, error: GalleyError) -> Response:
        document = of_error(error)
        headers = {"Retry-After": "1"} if isinstance(error, UnavailableError) else None
        return JSONResponse(document, document["code"], headers=headers)

    @app.exception_handler(StarletteHTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        message = error.detail.get("message", "") if isinstance(error.detail, dict) else str(error.detail)
        phrase = http.HTTPStatus(error.status_code).phrase.replace(" ", "")
        document = status_document(error.status_code, _REASONS.get(error.status_code, phrase), message)
        return JSONResponse(document, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> Response:
        log.error("a request failed", method=request.method, path=request.url.path, exc_info=error)
        return JSONResponse(status_document(500, "InternalError", "Galley failed; its log says why"), 500)


def success(details: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": dict(details)}
