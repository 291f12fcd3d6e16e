# SPDX-License-Identifier: Apache-2.0
"""Configuration that is stored and does nothing, as an error: whoever relies on it must learn that it does not hold."""

from __future__ import annotations

from collections.abc import Iterator

from galley.analysis.codes import INEFFECTIVE_POLICY, NOT_ENFORCED
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.enforcement import gaps


def not_enforced(view: View) -> Iterator[Finding]:
    for resource in view.resources:
        for gap in gaps(resource):
            yield finding(NOT_ENFORCED if gap.is_error else INEFFECTIVE_POLICY, resource, gap.path, gap.message)
