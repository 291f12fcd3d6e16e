# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mixer.rules.references import candidates


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("h", ("h.handler.ns",)),
        ("h.handler", ("h.handler.ns", "h.handler.handler")),
        ("h.other", ("h.other.ns", "h.handler.other")),
        ("h.handler.other", ("h.handler.other",)),
        ("h.denier.other", ("h.denier.other",)),
        ("a.b.c.d", ()),
        ("", ()),
        ("a.", ()),
    ],
)
def test_what_a_reference_may_mean(reference: str, names: tuple[str, ...]) -> None:
    assert candidates(reference, "handler", "ns") == names
