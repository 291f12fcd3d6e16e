# SPDX-License-Identifier: Apache-2.0
"""The order in which configuration wins conflicts: the oldest first, then by name, so that every Pilot decides alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from common.config.resource import Resource

S = TypeVar("S", bound=msgspec.Struct)


def age(resource: Resource[Any]) -> tuple[str, str, str]:
    """Sort key. A resource without a creation time (a file that was never stored) counts as the oldest."""
    return (resource.metadata.creationTimestamp, resource.name, resource.namespace)


def oldest_first(resources: Iterable[Resource[S]]) -> list[Resource[S]]:
    return sorted(resources, key=age)


def is_private(export_to: tuple[str, ...], default: tuple[str, ...]) -> bool:
    """Only the first entry counts (Istio 1.4): `.` keeps the object in its own namespace, anything else is public."""
    entries = export_to or default
    return bool(entries) and entries[0] == "."
