# SPDX-License-Identifier: Apache-2.0
"""The resources of one analysis by the type of their spec, and what is different from the analysis before.

Resources are compared by identity: who keeps them hands the same object on as long as nothing of it changed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, Final

from common.config.resource import Resource

_FEW: Final = 32  # one of so many is put into its place; where more changed all are sorted again


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """All resources whose spec has one type. A group stays the same object while its resources do."""

    given: Sequence[Resource[Any]]
    """As they were handed in."""
    members: Sequence[Resource[Any]]
    """By (kind, namespace, name); those of the same name as they were handed in."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """How a group became another one. What is in both is in both in the same order."""

    before: Group
    after: Group
    gone: Sequence[Resource[Any]]
    new: Sequence[Resource[Any]]
    is_small: bool
    """Whether it is cheaper to put right what is sorted like the group than to make it again, and nothing new has the name of another."""


def arranged(resources: Iterable[Resource[Any]], before: Mapping[type, Group]) -> tuple[Mapping[type, Group], Mapping[type, Change]]:
    """The groups of these resources, and the changes of those that there were before. The mapping is the same one if nothing changed."""
    given: dict[type, list[Resource[Any]]] = defaultdict(list)
    for resource in resources:
        given[type(resource.spec)].append(resource)
    groups: dict[type, Group] = {}
    changes: dict[type, Change] = {}
    for spec, found in given.items():
        old = before.get(spec)
        if old is not None and len(old.given) == len(found) and all(map(is_, old.given, found)):
            groups[spec] = old
        elif old is not None and (change := _change(old, found)) is not None:
            groups[spec], changes[spec] = change.after, change
        else:
            groups[spec] = Group(found, sorted(found, key=place))
    if groups.keys() == before.keys() and all(groups[spec] is before[spec] for spec in groups):
        return before, {}
    ordered = sorted(groups, key=lambda spec: place(groups[spec].members[0]))
    return {spec: groups[spec] for spec in ordered}, changes


def place(resource: Resource[Any]) -> tuple[str, str, str]:
    """What resources are sorted by: their key, at a third of its cost."""
    metadata = resource.metadata
    return resource.kind.collection, metadata.namespace, metadata.name


def _change(before: Group, found: Sequence[Resource[Any]]) -> Change | None:
    """None where what stayed has another order, which decides among resources of the same name."""
    old, now = {id(resource) for resource in before.given}, {id(resource) for resource in found}
    stayed = [resource for resource in found if id(resource) in old]
    kept = [resource for resource in before.given if id(resource) in now]
    if len(stayed) != len(kept) or not all(map(is_, stayed, kept)):
        return None
    new = [resource for resource in found if id(resource) not in old]
    gone = [resource for resource in before.given if id(resource) not in now]
    kept = [resource for resource in before.members if id(resource) in now]
    members = _with(kept, new) if len(new) + len(gone) <= max(_FEW // 4, len(found) // _FEW) else None
    after = Group(found, sorted(found, key=place) if members is None else members)
    return Change(before, after, gone, new, is_small=members is not None)


def _with(members: list[Resource[Any]], new: Sequence[Resource[Any]]) -> list[Resource[Any]] | None:
    """The members and the new ones in their order. None where two have the same name: then it matters which was handed in first."""
    for resource in new:
        index = bisect_left(members, place(resource), key=place)
        if index < len(members) and place(members[index]) == place(resource):
            return None
        members.insert(index, resource)
    return members
