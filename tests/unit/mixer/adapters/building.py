# SPDX-License-Identifier: Apache-2.0
"""Handlers built alone, with instances of their templates."""

from __future__ import annotations

from typing import Any

from common.expression import Vocabulary
from mixer.adapters import BUILTIN
from mixer.adapters.contract import Environment, HandlerSpec
from mixer.templates import InstanceShape, shape_instance
from tests.unit.mixer.resources import environment


def shape(template: str, params: dict[str, Any] | None = None, name: str = "thing.instance.ns") -> InstanceShape:
    return shape_instance(name, template, params or {}, Vocabulary.standard())


def build(adapter: str, params: dict[str, Any], *instances: InstanceShape, within: Environment | None = None) -> Any:
    spec = HandlerSpec("h.handler.ns", "ns", params, instances)
    return BUILTIN[adapter].build(spec, within or environment())
