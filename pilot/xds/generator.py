# SPDX-License-Identifier: Apache-2.0
"""What this room asks of whoever makes the resources. `pilot.networking.generator` is the real one; tests bring their own.

A snapshot and a proxy are opaque here: they are handed through, never looked into.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from pilot.networking.generator import Generated, GroupKey

Push = TypeVar("Push")
Proxy = TypeVar("Proxy")
Push_contra = TypeVar("Push_contra", contravariant=True)
Proxy_contra = TypeVar("Proxy_contra", contravariant=True)


class Generator(Protocol[Push_contra, Proxy_contra]):
    """Pure functions of a snapshot. Called from the event loop and from a worker thread, each for its own snapshot."""

    def plan(self, push: Push_contra, proxy: Proxy_contra, type_url: str, names: Collection[str] | None, /) -> tuple[GroupKey, ...]:
        """The groups whose union is the proxy's resources of a type. `names` are subscribed names (a frozenset); None is a wildcard."""
        ...

    def fingerprint(self, push: Push_contra, key: GroupKey, /) -> Hashable:
        """Equal for one key in two snapshots only if `generate` gives equal output in both."""
        ...

    def generate(self, push: Push_contra, key: GroupKey, /) -> tuple[Generated, ...]: ...

    def regenerate(self, push: Push_contra, key: GroupKey, /) -> tuple[Generated, ...]:
        """`generate` from the snapshot alone, with nothing remembered: what assertion mode compares with."""
        ...


@runtime_checkable
class Grounded(Protocol[Push_contra]):
    """A generator that can also say what did not change. Then no proxy is planned for again, or not even looked at."""

    def plan_basis(self, push: Push_contra, type_url: str, /) -> Hashable:
        """Equal in two snapshots only if `plan` answers alike in both, for every proxy."""
        ...

    def basis(self, push: Push_contra, type_url: str, /) -> Hashable:
        """Equal in two snapshots only if `plan` and `fingerprint` answer alike in both, for every proxy and key of the type."""
        ...
