# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.identity.spiffe import SpiffeId

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(labels, labels, labels)
def test_text_and_value_are_the_same_thing(trust_domain: str, namespace: str, account: str) -> None:
    spiffe_id = SpiffeId.of(trust_domain, namespace, account)
    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id
    assert f"spiffe://{spiffe_id.principal}" == str(spiffe_id)


@given(st.text())
def test_whatever_parses_is_written_back_unchanged(text: str) -> None:
    try:
        spiffe_id = SpiffeId.parse(text)
    except ValueError:
        return
    assert str(spiffe_id) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/",
        "spiffe://td/ns//sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/sa/b/ns/a",
        "spiffe://TD/ns/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "https://td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b?x=1",
        "spiffe://td/ns/%61/sa/b",
        "spiffe://td/ns/a/sa/b\n",
        "spiffe://td:80/ns/a/sa/b",
        "spiffe://*/ns/a/sa/b",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SpiffeId.parse(text)


def test_the_error_says_which_part_is_wrong() -> None:
    with pytest.raises(ValueError, match="namespace 'Default'"):
        SpiffeId.of("cluster.local", "Default", "sleep")
