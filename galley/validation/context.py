# SPDX-License-Identifier: Apache-2.0
"""What a resource is checked against besides itself: the vocabulary of expressions, and the adapters and templates that describe their params."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from common.config.kinds.mixer import Adapter, AttributeManifest, Template
from common.config.mixer_builtin import ADAPTERS, TEMPLATES, TemplateInfo
from common.config.resource import Resource
from common.config.schema import resolve, schema_of
from common.expression import ExpressionError, ValueType, Vocabulary

VALUE_TYPE: Final = "x-valueType"
"""In a template's schema: the type that the expression in this field must have. Without it any type will do."""


def _builtin_adapters() -> dict[str, Adapter]:
    return {
        name: Adapter(name=info.name, description=info.description, templates=info.templates, schema=schema_of(info.params))
        for info in ADAPTERS.values()
        for name in (info.name, *info.aliases)
    }


def _builtin_templates() -> dict[str, Template]:
    return {info.name: Template(name=info.name, variety=info.variety, schema=_typed_schema(info)) for info in TEMPLATES.values()}


def _typed_schema(info: TemplateInfo) -> dict[str, Any]:
    schema = copy.deepcopy(schema_of(info.params))
    properties = resolve(schema, schema)["properties"]
    for field, value_type in info.fields.items():
        properties[field][VALUE_TYPE] = value_type
    return schema


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """By default: Istio's standard attributes, and what Mixer has built in."""

    vocabulary: Mapping[str, ValueType] = msgspec.field(default_factory=Vocabulary.standard)
    adapters: Mapping[str, Adapter] = msgspec.field(default_factory=_builtin_adapters)
    templates: Mapping[str, Template] = msgspec.field(default_factory=_builtin_templates)

    def with_resources(self, resources: Iterable[Resource[Any]]) -> Context:
        """Also know the attribute manifests, adapters and templates among these resources."""
        manifests: list[Resource[AttributeManifest]] = []
        adapters: dict[str, Adapter] = dict(self.adapters)
        templates: dict[str, Template] = dict(self.templates)
        for resource in resources:
            match resource.spec:
                case AttributeManifest():
                    manifests.append(resource)
                case Adapter() as adapter:
                    adapters[adapter.name or resource.name] = adapter
                case Template() as template:
                    templates[template.name or resource.name] = template
                case _:
                    continue
        return Context(vocabulary=_extended(self.vocabulary, manifests), adapters=adapters, templates=templates)


def _extended(vocabulary: Mapping[str, ValueType], manifests: list[Resource[AttributeManifest]]) -> Mapping[str, ValueType]:
    if not manifests:
        return vocabulary
    extended = Vocabulary(vocabulary)
    for manifest in sorted(manifests, key=lambda resource: (resource.namespace, resource.name)):
        try:
            extended = extended.with_manifests([manifest.spec])
        except ExpressionError:
            continue  # the manifest itself is reported by its own rule
    return extended


STANDARD = Context()
