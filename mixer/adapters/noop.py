# SPDX-License-Identifier: Apache-2.0
"""noop: accepts everything. For tests, and to see what a rule would hand over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.config.mixer_builtin import ADAPTERS
from common.config.mixer_builtin.adapters import NoopParams
from mixer.adapters.contract import Adapter, Allocation, Batch, Environment, HandlerSpec, Verdict, decode_params
from mixer.dispatch.result import DEFAULT_VALID_DURATION, QuotaRequest
from mixer.templates.shape import InstanceShape


class Noop:
    def check(self, instance: InstanceShape, row: tuple[Any, ...]) -> Verdict:
        return Verdict()

    def allocate(self, instance: InstanceShape, row: tuple[Any, ...], request: QuotaRequest) -> Allocation:
        return Allocation(request.amount, DEFAULT_VALID_DURATION)

    def report(self, batches: Sequence[Batch]) -> None:
        return

    async def close(self) -> None:
        return


def build(spec: HandlerSpec, environment: Environment) -> Noop:
    decode_params(spec, NoopParams)
    return Noop()


NOOP = Adapter(ADAPTERS["noop"], build)
