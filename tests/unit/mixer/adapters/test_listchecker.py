# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from mixer.adapters.contract import Verdict
from mixer.dispatch.result import Code
from mixer.errors import HandlerError
from tests.unit.mixer.adapters.building import build, shape

ENTRY = shape("listentry", {"value": "source.ip"})


@pytest.mark.parametrize(
    ("type_", "entries", "inside", "outside"),
    [
        ("STRINGS", ["v1", "v2"], "v1", "V1"),
        ("CASE_INSENSITIVE_STRINGS", ["V1"], "v1", "v2"),
        ("IP_ADDRESSES", ["10.57.0.0/16", "fd00::/8", "10.1.1.1"], bytes([10, 57, 1, 2]), "10.58.0.1"),
        ("IP_ADDRESSES", ["10.57.0.0/16"], bytes(10) + b"\xff\xff" + bytes([10, 57, 0, 1]), bytes([10, 58, 0, 1])),
        ("REGEX", ["^/api/v[0-9]+/", "health"], "/api/v2/x", "/apis"),
    ],
)
def test_whitelists_and_blacklists(type_: str, entries: list[str], inside: Any, outside: Any) -> None:
    params = {"overrides": entries, "entryType": type_, "cachingInterval": "7s", "cachingUseCount": 3}
    white, black = build("list", params, ENTRY), build("listchecker", params | {"blacklist": True}, ENTRY)
    assert white.check(ENTRY, (inside,)) == Verdict(Code.OK, "", 7.0, 3)
    assert black.check(ENTRY, (outside,)) == Verdict(Code.OK, "", 7.0, 3)
    refused = white.check(ENTRY, (outside,))
    assert refused.status_code == Code.PERMISSION_DENIED
    assert refused.message.endswith(" is not whitelisted")
    assert black.check(ENTRY, (inside,)).message.endswith(" is blacklisted")


def test_a_value_that_is_no_address_is_an_invalid_argument() -> None:
    handler = build("list", {"overrides": ["10.0.0.0/8"], "entryType": "IP_ADDRESSES"}, ENTRY)
    assert handler.check(ENTRY, ("nonsense",))[:2] == (Code.INVALID_ARGUMENT, "nonsense is not a valid IP address")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"overrides": ["10.0.0.0/99"], "entryType": "IP_ADDRESSES"}, "params.overrides"),
        ({"overrides": ["("], "entryType": "REGEX"}, "params.overrides"),
        ({"providerUrl": "http://example.com/list"}, "params.providerUrl"),
        ({"cachingInterval": "x"}, "params.cachingInterval"),
        ({"cachingUseCount": -1}, "params.cachingUseCount"),
        ({"entryType": "NUMBERS"}, "params"),
    ],
)
def test_wrong_parameters_are_named(params: dict[str, Any], field: str) -> None:
    with pytest.raises(HandlerError) as caught:
        build("list", params, ENTRY)
    assert caught.value.field == field


def test_a_pattern_that_would_explode_elsewhere_is_harmless() -> None:
    handler = build("list", {"overrides": ["(a|aa)+$"], "entryType": "REGEX"}, ENTRY)
    assert handler.check(ENTRY, ("a" * 5000 + "!",)).status_code == Code.PERMISSION_DENIED
