# SPDX-License-Identifier: Apache-2.0
"""Mixer's built-in adapters and templates as configuration sees them: names, which fits which, and the shape of parameters.

Here, and not in `mixer`, because Galley checks handlers and instances by it without linking Mixer. Adapters from outside bring the same facts
as `adapter` and `template` resources; `builtin_resources` gives the built-in ones in that form, so that one path serves both.
"""

from __future__ import annotations

from typing import Any

from common.config.kinds.mixer import ADAPTER, TEMPLATE, Adapter, Template
from common.config.mixer_builtin.adapters import ADAPTERS, AdapterInfo, adapter_named
from common.config.mixer_builtin.templates import TEMPLATES, TemplateInfo
from common.config.resource import Metadata, Resource
from common.config.schema import schema_of

__all__ = ["ADAPTERS", "TEMPLATES", "AdapterInfo", "TemplateInfo", "adapter_named", "builtin_resources"]


def builtin_resources(namespace: str) -> tuple[Resource[Any], ...]:
    """`adapter` and `template` resources of everything built in, in `namespace`."""
    templates = (
        Resource(
            kind=TEMPLATE,
            metadata=Metadata(name=info.name, namespace=namespace),
            spec=Template(name=info.name, variety=info.variety, schema=schema_of(info.params)),
        )
        for info in TEMPLATES.values()
    )
    adapters = (
        Resource(
            kind=ADAPTER,
            metadata=Metadata(name=info.name, namespace=namespace),
            spec=Adapter(name=info.name, description=info.description, templates=info.templates, schema=schema_of(info.params)),
        )
        for info in ADAPTERS.values()
    )
    return (*templates, *adapters)
