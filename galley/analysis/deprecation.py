# SPDX-License-Identifier: Apache-2.0
"""Fields that Istio 1.4 had already replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from common.config.kinds.envoy_filter import EnvoyFilter
from common.config.kinds.rbac import ServiceRoleBinding
from common.config.kinds.virtual_service import HTTPRoute, HTTPRouteDestination, VirtualService
from common.config.problem import Path
from common.config.resource import Resource
from galley.analysis.codes import DEPRECATED
from galley.analysis.finding import Finding, finding
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
    yield from view.each(VirtualService, _in_virtual_service)
    yield from view.each(EnvoyFilter, _in_patch)
    yield from view.each(ServiceRoleBinding, _in_binding)


def _in_virtual_service(view: View, resource: Resource[VirtualService]) -> Iterator[Finding]:
    for field, instead, at in _virtual_service(resource.spec):
        yield _found(resource, (*at, field), field, instead)


def _in_patch(view: View, patch: Resource[EnvoyFilter]) -> Iterator[Finding]:
    for field, instead in (("workloadLabels", "workloadSelector"), ("filters", "configPatches")):
        if getattr(patch.spec, field):
            yield _found(patch, ("spec", field), field, instead)


def _in_binding(view: View, binding: Resource[ServiceRoleBinding]) -> Iterator[Finding]:
    for subject, at in each(binding.spec.subjects, ("spec", "subjects")):
        if subject.group:
            yield _found(binding, (*at, "group"), "group", "groups")


def _found(resource: Resource[Any], at: Path, field: str, instead: str) -> Finding:
    return finding(
        DEPRECATED, resource, at, DEPRECATED.says(f"{field} is deprecated; {f'use {instead}' if instead else 'it has no effect any more'}")
    )


def _virtual_service(spec: VirtualService) -> Iterator[tuple[str, str, Path]]:
    for route, at in each(spec.http, ("spec", "http")):
        if route.websocketUpgrade:
            yield "websocketUpgrade", "", at
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
