# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from common.identity.bounds import LARGEST, bounds_extension, bounds_of, outside_bounds
from tests.running_citadel import material_of, new_authority

texts = st.text(max_size=20)
authority = new_authority()


@given(st.dictionaries(texts, texts, max_size=5))
@settings(max_examples=25)
def test_bounds_survive_the_certificate(bounds: dict[str, str]) -> None:
    material = material_of(authority, "default", "sleep", label_bounds=bounds)
    assert bounds_of(x509.load_pem_x509_certificate(material.certificate_chain_pem)) == bounds


def test_bounds_have_a_limit() -> None:
    with pytest.raises(ValueError, match=str(LARGEST)):
        bounds_extension({"app": "x" * LARGEST})


@pytest.mark.parametrize(
    ("bounds", "labels", "allowed"),
    [
        ({}, {"app": "anything"}, True),
        ({"app": "reviews"}, {"app": "reviews", "version": "v1"}, True),
        ({"app": "reviews"}, {"app": "ratings"}, False),
        ({"app": "reviews"}, {}, False),
        ({"app": "reviews", "version": "v1"}, {"app": "reviews", "version": "v2"}, False),
    ],
)
def test_a_bounded_label_must_have_exactly_its_value(bounds: dict[str, str], labels: dict[str, str], allowed: bool) -> None:
    assert (outside_bounds(bounds, labels) is None) is allowed
