# SPDX-License-Identifier: Apache-2.0
"""The heart of Mixer as its listeners see it: one snapshot, and two questions that may be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixer.dispatch.result import CheckResult, QuotaRequest


class Runtime:
    """Answers Check and Report from the current snapshot. `snapshot` is replaced whole; calls in flight keep the one they began with."""

    async def check(self, bag: Mapping[str, Any], *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False) -> CheckResult:
        """Policy and quota for one request.

        Raises `mixer.errors.CheckError` when an adapter failed (not when it denied): the proxy's fail policy decides.
        """
        raise NotImplementedError

    async def report(self, bags: Sequence[Mapping[str, Any]]) -> None:
        """Telemetry of a batch. Every bag is worked on; raises `mixer.errors.ReportError` with all failures at the end."""
        raise NotImplementedError
