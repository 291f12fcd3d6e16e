# SPDX-License-Identifier: Apache-2.0
"""What the legacy kinds of Mixer must keep to: what a handler's or an instance's params must. Adapters that we have not are not judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from common.config.problem import Path, Problem
from galley.validation.context import Context
from galley.validation.mixer import expressions, params_of


def legacy_handler(adapter: str, values: Mapping[str, Any], at: Path, context: Context) -> Iterator[Problem]:
    known = context.adapters.get(adapter)
    if known is not None and known.schema:
        yield from params_of(values, known.schema, at)


def legacy_instance(template: str, values: Mapping[str, Any], at: Path, context: Context) -> Iterator[Problem]:
    known = context.templates.get(template)
    if known is None or not known.schema:
        return
    without_bindings = {name: value for name, value in values.items() if name not in ("attributeBindings", "attribute_bindings")}
    yield from params_of(without_bindings, known.schema, at)
    yield from expressions(without_bindings, known.schema, known.schema, at, context.vocabulary)
