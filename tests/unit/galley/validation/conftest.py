# SPDX-License-Identifier: Apache-2.0
"""`judge`: what the rules say about one spec, as `path: message` lines."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from common.config.registry import registry
from galley.validation import validate_documents

Judge = Callable[..., list[str]]


@pytest.fixture(scope="session")
def judge() -> Judge:
    def said(kind: str, spec: str, *, name: str = "x", namespace: str = "") -> list[str]:
        """Spec as YAML; metadata is made up. Every problem must have a line."""
        found = registry.by_word(kind)
        assert found is not None
        place = f", namespace: {namespace}" if namespace else ""
        head = f"apiVersion: {found.api_version}\nkind: {found.name}\nmetadata: {{name: {name}{place}}}\n"
        body = textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ")
        (result,) = validate_documents(f"{head}spec:\n{body}\n".encode(), "f.yaml")
        assert all(each.line for each in result.problems)
        return [str(each).removeprefix("spec.") for each in result.problems]

    return said
