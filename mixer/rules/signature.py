# SPDX-License-Identifier: Apache-2.0
"""When is a handler still the same? When its adapter, parameters and the instances that it is handed are the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mixer.templates.shape import InstanceShape

_CANONICAL = msgspec.json.Encoder(order="sorted")


class Signature(NamedTuple):
    """Compares by value. Counters, quota and caches of a handler live exactly as long as its signature."""

    adapter: str
    params: bytes
    instances: tuple[InstanceShape, ...]


def signature(adapter: str, params: Any, instances: tuple[InstanceShape, ...]) -> Signature:
    return Signature(adapter, _CANONICAL.encode(params), instances)
