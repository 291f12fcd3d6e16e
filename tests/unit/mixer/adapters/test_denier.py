# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from mixer.adapters.contract import Allocation, Verdict
from mixer.dispatch.result import QuotaRequest
from mixer.errors import HandlerError
from tests.unit.mixer.adapters.building import build, shape


def test_denies_with_its_status_and_limits() -> None:
    params = {"status": {"code": 7, "message": "Not allowed"}, "valid_duration": "10s", "valid_use_count": 5}
    handler = build("denier", params)
    assert handler.check(shape("checknothing"), ()) == Verdict(7, "Not allowed", 10.0, 5)
    assert handler.allocate(shape("quota"), ((),), QuotaRequest(3)) == Allocation(0, 10.0)


def test_denies_by_istios_defaults() -> None:
    assert build("denier", {}).check(shape("checknothing"), ()) == Verdict(9, "", 5.0, 1000)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": {"code": 99}}, "params.status.code"),
        ({"validDuration": "soon"}, "params.validDuration"),
        ({"validDuration": "-1s"}, "params.validDuration"),
        ({"validUseCount": -1}, "params.validUseCount"),
        ({"statuz": {}}, "params.statuz"),
        ({"status": "no"}, "params"),
    ],
)
def test_wrong_parameters_are_named(params: dict[str, Any], field: str) -> None:
    with pytest.raises(HandlerError) as caught:
        build("denier", params)
    assert caught.value.field == field
