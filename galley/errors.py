# SPDX-License-Identifier: Apache-2.0
"""Galley's errors. Each knows its resource and field and says what would help; only the HTTP and gRPC edges turn them into status codes.

GalleyError
├── InvalidError        the object breaks a rule; lists every problem           422 Invalid
├── BadRequestError     the request itself cannot be understood                 400 BadRequest
├── NotFoundError       no such object                                          404 NotFound
├── AlreadyExistsError  create, but it is there                                 409 AlreadyExists
├── ConflictError       somebody was faster, or somebody else owns the object   409 Conflict
├── ForbiddenError      the caller's role does not reach so far                 403 Forbidden
├── ExpiredError        the history asked for is no longer kept                 410 Expired
├── TooLargeError       the body is larger than we read                         413 RequestEntityTooLarge
└── UnavailableError    this Galley does not hold the writer lock now           503 ServiceUnavailable
"""

from __future__ import annotations

from typing import ClassVar

from common.config.problem import Problem
from common.config.resource import ResourceKey


class GalleyError(Exception):
    """`reason` is stable and Kubernetes' own word; the text is one sentence for people."""

    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, key: ResourceKey | None = None) -> None:
        super().__init__(message)
        self.key = key


class InvalidError(GalleyError):
    reason = "Invalid"

    def __init__(self, problems: tuple[Problem, ...], *, key: ResourceKey | None = None, subject: str = "") -> None:
        self.problems = problems
        super().__init__(f"{key or subject or 'the object'} is invalid: {'; '.join(map(str, problems))}", key=key)


class BadRequestError(GalleyError):
    reason = "BadRequest"


class NotFoundError(GalleyError):
    reason = "NotFound"


class AlreadyExistsError(GalleyError):
    reason = "AlreadyExists"


class ConflictError(GalleyError):
    reason = "Conflict"


class ForbiddenError(GalleyError):
    reason = "Forbidden"


class ExpiredError(GalleyError):
    reason = "Expired"


class TooLargeError(GalleyError):
    reason = "RequestEntityTooLarge"


class UnavailableError(GalleyError):
    reason = "ServiceUnavailable"
