# SPDX-License-Identifier: Apache-2.0
"""The committed pages about the kinds are those that the kinds give."""

from __future__ import annotations

import re

from common.config import registry
from tests.kinds_reference import FOLDER, LEGACY, pages

WRITTEN = pages()


def test_the_pages_are_up_to_date() -> None:
    """When this fails: `python -m tests.kinds_reference`, and read the difference."""
    assert {path.name: path.read_text("utf-8") for path in FOLDER.glob("*")} == WRITTEN


def test_every_kind_is_on_a_page() -> None:
    for kind in registry:
        page = WRITTEN["mixer-legacy.md" if kind.name in LEGACY else f"{kind.name.lower()}.md"]
        assert f"`{kind.plural}`" in page
        assert kind.api_version in page


def test_links_lead_somewhere() -> None:
    for name, text in WRITTEN.items():
        headings = {heading.strip().lower() for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        for target in re.findall(r"\]\(([^)]*)\)", text):
            assert target.removeprefix("#") in headings if target.startswith("#") else target in WRITTEN, (name, target)
