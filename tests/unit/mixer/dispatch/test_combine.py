# SPDX-License-Identifier: Apache-2.0
"""Many verdicts, one answer."""

from __future__ import annotations

import pytest

from mixer.adapters.contract import Verdict
from mixer.dispatch.combine import combine
from mixer.dispatch.result import CheckResult, Code, DirectResponse


@pytest.mark.parametrize(
    ("verdicts", "status", "message", "duration", "uses"),
    [
        ([], 0, "", 60.0, 10_000),
        ([Verdict()], 0, "", 60.0, 10_000),
        ([Verdict(0, "", 300.0, 5)], 0, "", 300.0, 5),
        ([Verdict(0, "", 300.0, 5), Verdict(0, "", 10.0, 50)], 0, "", 10.0, 5),
        ([Verdict(7, "no", 5.0, 1000)], 7, "h0.ns:no", 5.0, 1000),
        ([Verdict(0, "ok", 1.0, 10), Verdict(7, "no", 5.0, 1000), Verdict(16, "who", 9.0, 9)], 7, "h1.ns:no, h2.ns:who", 1.0, 9),
        ([Verdict(9, "", 5.0, 1000)], 9, "h0.ns:", 5.0, 1000),
        ([Verdict(0, "", 300.0, 5), Verdict()], 0, "", 60.0, 10_000),
        ([Verdict(0, "", 5.0, 0)], 0, "", 5.0, 0),
    ],
)
def test_combination(verdicts: list[Verdict], status: int, message: str, duration: float, uses: int) -> None:
    result = combine((f"h{index}.ns", verdict) for index, verdict in enumerate(verdicts))
    assert result == CheckResult(status, message, duration, uses)


def test_the_first_direct_response_counts_and_takes_its_status_from_the_code() -> None:
    result = combine(
        [
            ("a.ns", Verdict(7, "no", direct_response=DirectResponse(0, "go away"))),
            ("b.ns", Verdict(5, "", direct_response=DirectResponse(302, ""))),
        ]
    )
    assert result.direct_response == DirectResponse(403, "go away")


def test_http_statuses_are_those_of_istios_proxy() -> None:
    statuses = {code.name: code.http_status for code in Code}
    assert statuses["CANCELLED"] == 499
    assert statuses["FAILED_PRECONDITION"] == 400
    assert statuses["RESOURCE_EXHAUSTED"] == 429
    assert len(statuses) == 17
