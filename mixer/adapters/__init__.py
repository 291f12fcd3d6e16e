# SPDX-License-Identifier: Apache-2.0
"""Built-in adapters, one small package for each. They never see each other's failures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mixer.adapters.contract import Adapter
from mixer.adapters.denier import DENIER
from mixer.adapters.listchecker import LISTCHECKER
from mixer.adapters.memquota import MEMQUOTA
from mixer.adapters.noop import NOOP
from mixer.adapters.prometheus import PROMETHEUS
from mixer.adapters.stdio import STDIO

BUILTIN: Final[Mapping[str, Adapter]] = MappingProxyType(
    {
        name: adapter
        for adapter in (DENIER, LISTCHECKER, MEMQUOTA, NOOP, PROMETHEUS, STDIO)
        for name in (adapter.info.name, *adapter.info.aliases)
    }
)
"""Adapters by every name that `compiledAdapter` may use."""
