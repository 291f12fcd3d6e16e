# SPDX-License-Identifier: Apache-2.0
"""One pair of files for each mistake: `istNNNN-….yaml` has it, and says in its first lines what a user reads; `….good.yaml` is right.

`FOURMAST_REGENERATE=1 pytest …` writes these lines anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from galley.analysis import analyze
from galley.analysis.codes import INEFFECTIVE_POLICY, INTERNAL_ERROR, NOT_APPLICABLE, NOT_ENFORCED, RULES
from galley.analysis.reference import ISTIO_1_4, page
from galley.validation import validate_documents, validate_files

ROOT = Path(__file__).parents[4]
FIXTURES = Path(__file__).parent / "fixtures"
MISTAKES = sorted(path for path in FIXTURES.glob("*.yaml") if not path.name.endswith(".good.yaml"))
OURS = "1.2.3"
"""The version of the control plane that looks at them."""
TESTED_ELSEWHERE = {INTERNAL_ERROR, INEFFECTIVE_POLICY, NOT_ENFORCED}


def findings(path: Path) -> list[str]:
    """All findings as a user sees them; which kinds this version enforces is another test's matter."""
    results = validate_documents(path.read_bytes(), path.name)
    resources = [result.resource for result in results]
    assert None not in resources, [result.problems for result in results]
    found = analyze((resource for resource in resources if resource is not None), control_plane_version=OURS)
    return [str(each) for each in found if each.code != NOT_ENFORCED.code]


def right(path: Path) -> Path:
    return path.with_suffix(".good.yaml")


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_is_found_in_these_words_and_nothing_else_is(path: Path) -> None:
    found = findings(path)
    if os.environ.get("FOURMAST_REGENERATE"):
        body = [line for line in path.read_text().splitlines() if not line.startswith("# ")]
        path.write_text("\n".join([f"# {line}" for line in found] + body) + "\n")
    expected = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# ")]
    assert found == expected
    code = path.name.partition(".")[0].partition("-")[0].upper()
    assert found, "a fixture shows a mistake"
    assert all(f"[{code}]" in line for line in found)


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_nothing_is_found_where_it_is_mended(path: Path) -> None:
    assert findings(right(path)) == []


def test_every_code_has_its_mistake() -> None:
    shown = {path.name.partition(".")[0].partition("-")[0].upper() for path in MISTAKES}
    assert shown == {rule.code for rule in RULES.values() if rule not in TESTED_ELSEWHERE}


def test_every_code_of_istio_is_reported_or_explained() -> None:
    assert len(ISTIO_1_4) == 15
    assert {*RULES, *NOT_APPLICABLE} >= ISTIO_1_4
    assert not set(RULES) & set(NOT_APPLICABLE)


def test_the_reference_page_is_that_of_these_codes() -> None:
    assert (ROOT / "docs/reference/analysis.md").read_text() == page(), "write it with python -m galley.analysis.reference"


def test_no_analyser_fails_on_anything_that_can_be_written() -> None:
    files = [*(ROOT / "tests/unit/galley").rglob("fixtures/**/*.yaml"), *(ROOT / "deploy/samples").rglob("config/**/*.yaml")]
    results = validate_files((str(path), path.read_bytes()) for path in files if path.stat().st_size < 100_000)
    resources = [result.resource for result in results if result.resource is not None]
    assert len({resource.kind for resource in resources}) > 20, "also kinds that no fixture here has"
    assert [str(found) for found in analyze(resources) if found.code == INTERNAL_ERROR.code] == []


def test_nothing_is_found_in_our_own_samples() -> None:
    bookinfo, demo = ROOT / "deploy/samples/bookinfo/config", ROOT / "deploy/samples/demo/config"
    base = [bookinfo / name for name in ("services.yaml", "gateway.yaml", "destination-rule-all.yaml", "virtual-service-all-v1.yaml")]
    files = [*base, demo / "services.yaml", demo / "mesh.yaml", *(bookinfo / "policy").glob("*.yaml")]
    results = validate_files((str(path), path.read_bytes()) for path in files)
    assert [result.problems for result in results if not result.is_valid] == []
    assert [str(found) for found in analyze(result.resource for result in results if result.resource is not None)] == []
