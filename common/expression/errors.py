# SPDX-License-Identifier: Apache-2.0
"""The one error of this package. `kind` says in which of the three steps it happened, because a user mends each at another place:

parse  the text is not an expression          -> the text
check  names or types do not fit              -> the text or the attribute manifest
eval   these attributes give no value         -> the attributes, or a default with `|`
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["parse", "check", "eval"]


class ExpressionError(ValueError):
    """An expression that cannot be read, typed or evaluated. `position` is the character offset in the text, None where there is none."""

    def __init__(self, kind: Kind, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.position = position
