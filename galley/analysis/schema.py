# SPDX-License-Identifier: Apache-2.0
"""What validation says about stored resources: mistakes that were let in before a rule existed, or by another way than apply."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.problem import parse_path
from galley.analysis.codes import SCHEMA_VALIDATION_ERROR
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation import Context, validate


def schema_errors(view: View) -> Iterator[Finding]:
    context = Context().with_resources(view.resources)
    for resource in view.resources:
        for found in validate(resource, context):
            yield finding(SCHEMA_VALIDATION_ERROR, resource, parse_path(found.path), SCHEMA_VALIDATION_ERROR.says(found))
