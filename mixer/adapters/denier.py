# SPDX-License-Identifier: Apache-2.0
"""denier: every check is denied with one status, every quota request gets nothing."""

from __future__ import annotations

from typing import Any

from common.config.duration import DurationError, seconds
from common.config.mixer_builtin import ADAPTERS
from common.config.mixer_builtin.adapters import DenierParams
from mixer.adapters.contract import Adapter, Allocation, Environment, HandlerSpec, Verdict, decode_params
from mixer.dispatch.result import Code, QuotaRequest
from mixer.errors import HandlerError
from mixer.templates.shape import InstanceShape


class Denier:
    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def check(self, instance: InstanceShape, row: tuple[Any, ...]) -> Verdict:
        return self._verdict

    def allocate(self, instance: InstanceShape, row: tuple[Any, ...], request: QuotaRequest) -> Allocation:
        return Allocation(0, self._verdict.valid_duration)

    async def close(self) -> None:
        return


def build(spec: HandlerSpec, environment: Environment) -> Denier:
    params = decode_params(spec, DenierParams)
    try:
        code = Code(params.status.code)
    except ValueError as error:
        raise HandlerError(f"{params.status.code} is no google.rpc code (0 to 16)", "params.status.code") from error
    try:
        valid = seconds(params.validDuration)
    except DurationError as error:
        raise HandlerError(str(error), "params.validDuration") from error
    if valid < 0 or params.validUseCount < 0:
        raise HandlerError("must not be negative", "params.validDuration" if valid < 0 else "params.validUseCount")
    return Denier(Verdict(code, params.status.message, valid, params.validUseCount))


DENIER = Adapter(ADAPTERS["denier"], build)
