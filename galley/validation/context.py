# SPDX-License-Identifier: Apache-2.0
"""What a resource is checked against besides itself: the vocabulary of expressions, and the adapters and templates that describe their params."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from common.config.kinds.mixer import Adapter, AttributeManifest, Template
from common.config.resource import Resource
from common.expression import ExpressionError, ValueType, Vocabulary


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """An empty map of adapters (or templates) means that none are known here, so that names are not checked against it."""

    vocabulary: Mapping[str, ValueType] = msgspec.field(default_factory=Vocabulary.standard)
    adapters: Mapping[str, Adapter] = {}
    templates: Mapping[str, Template] = {}

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
"""Istio's standard attributes, and nothing known about adapters."""
