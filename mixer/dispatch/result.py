# SPDX-License-Identifier: Apache-2.0
"""What Mixer is asked and what it answers, without any wire format: the fast Check, ext_authz and `istio.mixer.v1` all speak through these."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from mixer.attributes.bag import Referenced

__all__ = [
    "DEFAULT_VALID_DURATION",
    "DEFAULT_VALID_USE_COUNT",
    "CheckResult",
    "Code",
    "DirectResponse",
    "HeaderOperation",
    "Operation",
    "QuotaRequest",
    "QuotaResult",
    "Referenced",
]

DEFAULT_VALID_DURATION = 60.0  # seconds an answer holds when no adapter says otherwise (Istio 1.4: one minute)
DEFAULT_VALID_USE_COUNT = 10_000


class Code(IntEnum):
    """google.rpc.Code. `name` begins the text that a denied client sees."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> int:
        """The status of the local reply that Istio 1.4's proxy made of this code."""
        return _HTTP_STATUS[self]


_HTTP_STATUS: Mapping[int, int] = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip


class Operation(IntEnum):
    """What a header operation does, with the numbers of `istio.mixer.v1`."""

    REPLACE = 0
    REMOVE = 1
    APPEND = 2


class HeaderOperation(NamedTuple):
    name: str
    value: str
    operation: Operation
    response: bool
    """True for a response header, False for a request header."""


class DirectResponse(NamedTuple):
    """An answer that Mixer gives in place of the application. `status` is an HTTP status."""

    status: int
    body: str
    headers: tuple[HeaderOperation, ...] = ()


class QuotaRequest(NamedTuple):
    """`amount` tokens of a quota. `best_effort` takes what is left; otherwise it is all or nothing.
    A repeated `dedup_id` gets the first answer again."""

    amount: int
    best_effort: bool = False
    dedup_id: str = ""


class QuotaResult(NamedTuple):
    granted: int
    valid_duration: float
    """Seconds until the granted tokens expire."""
    referenced: tuple[Referenced, ...] = ()


class CheckResult(NamedTuple):
    """The combined answer of every adapter. It may be reused for requests that agree on `referenced`, but only
    while `valid_duration` (seconds) lasts and at most `valid_use_count` times; both must be positive for it to be cached at all."""

    status_code: int = Code.OK
    message: str = ""
    """`HANDLER.NAMESPACE:text` of each denying handler, joined by `, `; without the code's name."""
    valid_duration: float = DEFAULT_VALID_DURATION
    valid_use_count: int = DEFAULT_VALID_USE_COUNT
    referenced: tuple[Referenced, ...] = ()
    """Empty unless asked for with `track`."""
    header_operations: tuple[HeaderOperation, ...] = ()
    direct_response: DirectResponse | None = None
    quotas: Mapping[str, QuotaResult] = {}
    """Empty when the precondition is denied. A quota whose adapter failed has zero granted, as in Istio 1.4."""
