# SPDX-License-Identifier: Apache-2.0
"""Since when each resource has been right, or wrong. An immutable value, so the next one can be made beside those who read this one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType
from typing import Any, Final

from common.config.resource import Resource, ResourceKey
from galley.analysis import Finding


class Verdicts:
    """`since` has every resource that was analysed, with the time (RFC 3339) at which the verdict on it last changed."""

    def __init__(self, since: Mapping[ResourceKey, str], wrong: Set[ResourceKey], resources: Mapping[int, Resource[Any]]) -> None:
        self.since = since
        self._wrong, self._resources = wrong, resources

    def after(self, resources: Iterable[Resource[Any]], findings: Iterable[Finding], now: str) -> Verdicts:
        """The verdicts once these resources have these findings. A resource that is the same object as before costs next to nothing."""
        objects = {id(resource): resource for resource in resources}
        wrong = {found.resource for found in findings if found.resource is not None and found.level != "Info"}
        gone = {resource.key for known, resource in self._resources.items() if known not in objects}
        new = {resource.key for known, resource in objects.items() if known not in self._resources}
        since = dict(self.since)
        for key in gone - new:
            since.pop(key, None)
        since |= dict.fromkeys(new - gone, now)
        since |= {key: now for key in wrong ^ self._wrong if key in since}
        return Verdicts(since, wrong, objects)


NONE: Final = Verdicts(MappingProxyType({}), frozenset(), MappingProxyType({}))
"""Before the first analysis."""
