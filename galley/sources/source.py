# SPDX-License-Identifier: Apache-2.0
"""What Galley asks of a place from which documents come by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Source(Protocol):
    """Owns what it stored: the API refuses to change it while the source runs."""

    async def load(self) -> None:
        """Bring the store up to date once, before anything is published. A place that cannot be reached leaves the store as it is."""
        ...

    async def run(self) -> None:
        """Keep it so until cancelled."""
        ...

    def states(self) -> Sequence[Mapping[str, Any]]:
        """What became of each file or kind, as the API shows it."""
        ...
