# SPDX-License-Identifier: Apache-2.0
"""Configuration that is stored and does nothing, as an error: whoever relies on it must learn that it does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.config.resource import Resource
from galley.analysis.codes import INEFFECTIVE_POLICY, NOT_ENFORCED
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.enforcement import gaps


def not_enforced(view: View) -> Iterator[Finding]:
    return view.each_of_all(_not_enforced)


def _not_enforced(view: View, resource: Resource[Any]) -> Iterator[Finding]:
    for gap in gaps(resource):
        yield finding(NOT_ENFORCED if gap.is_error else INEFFECTIVE_POLICY, resource, gap.path, gap.message)
