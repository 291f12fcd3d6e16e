# SPDX-License-Identifier: Apache-2.0
"""Fields that Istio 1.4 had already replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from common.config.kinds.virtual_service import HTTPRoute, HTTPRouteDestination, VirtualService
from common.config.problem import Path
from galley.analysis.finding import DEPRECATED, Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import each

_HEADER_FIELDS: Final = {
    "appendRequestHeaders": "headers.request.add",
    "appendHeaders": "headers.request.add",
    "removeRequestHeaders": "headers.request.remove",
    "appendResponseHeaders": "headers.response.add",
    "removeResponseHeaders": "headers.response.remove",
}


def deprecated_fields(view: View) -> Iterator[Finding]:
    for resource in view.of(VirtualService):
        for field, instead, at in _virtual_service(resource.spec):
            yield finding(DEPRECATED, resource, (*at, field), f"Deprecated: {field} is deprecated; use {instead}")


def _virtual_service(spec: VirtualService) -> Iterator[tuple[str, str, Path]]:
    for route, at in each(spec.http, ("spec", "http")):
        if route.websocketUpgrade:
            yield "websocketUpgrade", "nothing: websockets are always on", at
        yield from _headers(route, at)
        for destination, place in each(route.route, (*at, "route")):
            yield from _headers(destination, place)
        if route.fault is not None:
            for part in ("delay", "abort"):
                fault = getattr(route.fault, part)
                if fault is not None and fault.percent:
                    yield "percent", "percentage.value", (*at, "fault", part)


def _headers(owner: HTTPRoute | HTTPRouteDestination, at: Path) -> Iterator[tuple[str, str, Path]]:
    for field, instead in _HEADER_FIELDS.items():
        if getattr(owner, field, None):
            yield field, instead, at
