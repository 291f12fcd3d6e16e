# SPDX-License-Identifier: Apache-2.0
"""What validation says about stored resources: mistakes that were let in before a rule existed, or by another way than apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from common.config.kinds.mixer import Adapter, AttributeManifest, Template
from common.config.problem import parse_path
from common.config.resource import Resource
from galley.analysis.codes import SCHEMA_VALIDATION_ERROR
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation import Context, validate
from galley.validation.context import STANDARD


def schema_errors(view: View) -> Iterator[Finding]:
    return view.each_of_all(_schema_errors)


def _schema_errors(view: View, resource: Resource[Any]) -> Iterator[Finding]:
    for found in validate(resource, view.once(_context)):
        yield finding(SCHEMA_VALIDATION_ERROR, resource, parse_path(found.path), SCHEMA_VALIDATION_ERROR.says(found))


def _context(view: View) -> Context:
    """Read as far as it goes, so that what is not in it may change without a resource being validated again."""
    extending: list[Sequence[Resource[Any]]] = [view.of(AttributeManifest), view.of(Adapter), view.of(Template)]
    return STANDARD.with_resources(chain.from_iterable(extending))
