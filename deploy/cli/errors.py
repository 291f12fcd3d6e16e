# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and the error that ends a command with one sentence."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
BAD_DATA: Final = 65
INTERNAL: Final = 70
FINDINGS: Final = 79


class CliError(Exception):
    """Printed as `fourmast: …`; says what is wrong and, where we know it, what to do."""

    def __init__(self, message: str, *, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
