# SPDX-License-Identifier: Apache-2.0
"""The snapshot from which everything is generated. Immutable: a change makes a new one, which shares what did not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.config.resource import Resource

Resources = Mapping[str, Mapping[str, Resource[Any]]]
"""Collection name -> MCP name (`namespace/name`) -> resource, as the MCP sink holds them."""


class PushContext:
    """One consistent view of services, endpoints and configuration."""

    @classmethod
    def build(cls, resources: Resources, previous: PushContext | None = None) -> PushContext:
        """Index `resources`. Whatever is equal to its counterpart in `previous` is taken over, so a small change costs little.

        Never raises for a bad object: an object that cannot be used is left out. The caller must not change `resources` afterwards.
        """
        raise NotImplementedError
