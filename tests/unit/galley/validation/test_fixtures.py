# SPDX-License-Identifier: Apache-2.0
"""One file for each mistake that a user can make; beside it what the user then sees.

Regenerate with FOURMAST_UPDATE_GOLDENS=1 and read the difference as a user would, before you commit it.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest

from deploy.cli.problems import print_problem
from galley.validation import DocumentResult, validate_documents
from tests.unit.galley.validation.rule_sites import record, sites

FIXTURES = Path(__file__).parent / "fixtures"
MISTAKES = sorted(FIXTURES.rglob("*.yaml"))


SAFETY_NETS = {"problem((), str(error))"}  # reached only if the schema let pass what the types refuse, which no known document does


def name_of(path: Path) -> str:
    return str(path.relative_to(FIXTURES).with_suffix(""))


def check(path: Path) -> list[DocumentResult]:
    return validate_documents(path.read_bytes(), path.name)


def shown(path: Path, results: list[DocumentResult]) -> str:
    """What `fourmast validate` prints about it, without the colours."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        for result in results:
            for found in result.problems:
                print_problem(result.file, result.name, found, {path.name: path.read_bytes()})
    return printed.getvalue()


@pytest.mark.parametrize("path", MISTAKES, ids=name_of)
def test_a_mistake_is_found_alone_and_said_well(path: Path) -> None:
    results = check(path)
    golden, said = path.with_suffix(".txt"), shown(path, results)
    if os.environ.get("FOURMAST_UPDATE_GOLDENS"):
        golden.write_text(said, "utf-8")
    assert said == golden.read_text("utf-8")
    problems = [found for result in results for found in result.problems]
    assert len(problems) == 1
    assert all(found.line for result in results for found in result.problems if result.document.positions or not found.path)


def test_there_are_no_orphans() -> None:
    assert sorted(path.with_suffix(".yaml") for path in FIXTURES.rglob("*.txt")) == MISTAKES


def test_every_rule_has_a_mistake_that_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes a rule writes a file that breaks it."""
    broken = record(monkeypatch)
    for path in MISTAKES:
        check(path)
    unbroken = {site: text for site, text in sites().items() if site not in broken and text not in SAFETY_NETS}
    assert not unbroken, "\n".join(f"{site.module}:{site.line}: {text}" for site, text in sorted(unbroken.items()))
