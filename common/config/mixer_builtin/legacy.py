# SPDX-License-Identifier: Apache-2.0
"""Mixer's older kinds, one for each adapter and template, read as the handlers and instances that they stand for."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.config.kinds.legacy_mixer import LEGACY_ADAPTERS, LEGACY_TEMPLATES, LegacyHandler, LegacyInstance
from common.config.kinds.mixer import Handler, Instance
from common.config.mixer_builtin.adapters import ADAPTERS
from common.config.mixer_builtin.templates import TEMPLATES
from common.config.registry import Kind
from common.config.resource import Resource

LEGACY_HANDLERS: Final[tuple[Kind, ...]] = tuple(kind for name, kind in LEGACY_ADAPTERS.items() if name in ADAPTERS)
LEGACY_INSTANCES: Final[tuple[Kind, ...]] = tuple(kind for name, kind in LEGACY_TEMPLATES.items() if name in TEMPLATES)
"""Those whose adapter or template Mixer has."""

LEGACY_COLLECTIONS: Final = tuple(kind.collection for kind in (*LEGACY_HANDLERS, *LEGACY_INSTANCES))

_BINDINGS: Final = ("attributeBindings", "attribute_bindings")


def as_current(resource: Resource[Any]) -> Resource[Any]:
    """The same resource, under its own name and kind, with the spec of a handler or an instance. What is none of these stays as it is."""
    match resource.spec:
        case LegacyHandler(params=params):
            return msgspec.structs.replace(resource, spec=Handler(compiledAdapter=resource.kind.name, params=params))
        case LegacyInstance(params=params):
            bindings: dict[str, str] = next((params[name] for name in _BINDINGS if isinstance(params.get(name), dict)), {})
            fields = {name: value for name, value in params.items() if name not in _BINDINGS}
            spec = Instance(compiledTemplate=resource.kind.name, params=fields, attributeBindings=bindings)
            return msgspec.structs.replace(resource, spec=spec)
        case _:
            return resource
