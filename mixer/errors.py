# SPDX-License-Identifier: Apache-2.0
"""Errors of Mixer. A *denial* is not an error but an answer; these say that an answer could not be made.

MixerError
├── CheckError      an adapter failed during a Check: the caller's fail-open or fail-close policy decides
├── ReportError     parts of a batch could not be reported; the rest was
├── AdapterError    one call of one handler failed (raised, timed out, or was refused by its bulkhead)
├── HandlerError    a handler cannot be built from its parameters
└── Overloaded      load shedding refused the call
"""

from __future__ import annotations

from collections.abc import Sequence


class MixerError(Exception):
    """`code` is stable; `str()` is a sentence for people."""

    code = "mixer"


class _Collected(MixerError):
    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__("; ".join(failures))
        self.failures = tuple(failures)


class CheckError(_Collected):
    code = "check-failed"


class ReportError(_Collected):
    code = "report-failed"


class AdapterError(MixerError):
    code = "adapter-failed"


class HandlerError(MixerError):
    """`field` is the path of the parameter that is wrong, empty for the whole."""

    code = "handler-invalid"

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Overloaded(MixerError):
    code = "overloaded"


class InstanceError(MixerError):
    """Expressions of an instance are wrong. `problems` are (field path, message) pairs."""

    code = "instance-invalid"

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = tuple(problems)
