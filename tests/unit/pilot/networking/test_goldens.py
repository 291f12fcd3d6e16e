# SPDX-License-Identifier: Apache-2.0
"""`case.input.yaml` must give `case.envoy.yaml`. Regenerate with FOURMAST_UPDATE_GOLDENS=1 and read the difference before you commit it.

That Envoy accepts them all is shown in tests/integration/pilot/test_envoy_accepts.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.generated_mesh import Case

GOLDENS = Path(__file__).parent / "goldens"
CASES = sorted(path.name.removesuffix(".input.yaml") for path in GOLDENS.glob("*.input.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    produced = Case.read((GOLDENS / f"{case}.input.yaml").read_text("utf-8")).golden()
    expected = GOLDENS / f"{case}.envoy.yaml"
    if os.environ.get("FOURMAST_UPDATE_GOLDENS"):
        expected.write_text(produced, "utf-8")
    assert produced == expected.read_text("utf-8")


def test_there_are_no_orphans() -> None:
    assert sorted(path.name.removesuffix(".envoy.yaml") for path in GOLDENS.glob("*.envoy.yaml")) == CASES
