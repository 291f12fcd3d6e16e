# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot.networking.route_headers import escape


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("100%", "100%%"),
        ("%%", "%%"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_REMOTE_ADDRESS%"),
        ("a %REQ(x-id)% b", "a %REQ(x-id)% b"),
        ("%REQ()%", "%%REQ()%%"),
        ("%NOT_A_COMMAND%", "%%NOT_A_COMMAND%%"),
        ("%PROTOCOL% and 5%", "%PROTOCOL% and 5%%"),
    ],
)
def test_known_commands_are_kept_and_other_percent_signs_escaped(value: str, expected: str) -> None:
    assert escape(value) == expected


@given(st.text(alphabet="%AZ()_ ", max_size=12))
def test_what_remains_is_pairs_and_known_commands(value: str) -> None:
    rest = re.sub(r"%[A-Z_]+(\([^)%]+\))?%", "", escape(value).replace("%%", ""))
    assert "%" not in rest
