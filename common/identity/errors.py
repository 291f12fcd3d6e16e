# SPDX-License-Identifier: Apache-2.0
"""Errors of this package.

IdentityError
├── EnrolmentError   a workload cannot get or keep its certificate
└── TokenError       an API token is not accepted
"""

from __future__ import annotations


class IdentityError(Exception):
    """`code` is stable and meant for programs; the text is a sentence for people and never holds a secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EnrolmentError(IdentityError):
    """Codes: JOIN_FILE (absent or unreadable), NO_CREDENTIAL (neither token nor certificate), REFUSED (by Citadel),
    ANSWER (not usable)."""


class TokenError(IdentityError):
    """Codes: MISSING, MALFORMED, SIGNATURE, EXPIRED, CLAIMS, NO_KEYS."""
