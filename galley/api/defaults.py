# SPDX-License-Identifier: Apache-2.0
"""Defaults that Kubernetes writes into its own kinds, and that its tools therefore expect to see: `kubectl describe service` knows no others.

Canonical JSON leaves defaults out, so an object that comes back with them is still the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from common.config.kinds.core import NAMESPACE, SERVICE

_WRITER = msgspec.json.Encoder(order="sorted")


def _service(document: dict[str, Any]) -> None:
    spec = document.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")


def _namespace(document: dict[str, Any]) -> None:
    document.setdefault("status", {}).setdefault("phase", "Active")


_FILL: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {SERVICE.collection: _service, NAMESPACE.collection: _namespace}


def with_defaults(collection: str, body: bytes) -> bytes:
    """The object as Kubernetes would show it; the same bytes for every other kind."""
    fill = _FILL.get(collection)
    if fill is None:
        return body
    document = msgspec.json.decode(body)
    fill(document)
    return _WRITER.encode(document)
