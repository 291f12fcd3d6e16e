# SPDX-License-Identifier: Apache-2.0
"""EnvoyFilters whose operation does nothing to the object that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from common.config.kinds.envoy_filter import EnvoyFilter
from common.config.resource import Resource
from galley.analysis.codes import ADD_IGNORED, REMOVE_IGNORED
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import each

_IGNORED: Final = {
    ("ADD", "ROUTE_CONFIGURATION"): ADD_IGNORED,
    ("ADD", "HTTP_ROUTE"): ADD_IGNORED,
    ("REMOVE", "ROUTE_CONFIGURATION"): REMOVE_IGNORED,
    ("REMOVE", "HTTP_ROUTE"): REMOVE_IGNORED,
}


def operations(view: View) -> Iterable[Finding]:
    return view.each(EnvoyFilter, _operations)


def _operations(view: View, resource: Resource[EnvoyFilter]) -> Iterator[Finding]:
    for patch, at in each(resource.spec.configPatches, ("spec", "configPatches")):
        rule = _IGNORED.get((patch.patch.operation, patch.applyTo)) if patch.patch is not None else None
        if rule is not None:
            yield finding(rule, resource, (*at, "patch", "operation"), rule.says(patch.applyTo))
