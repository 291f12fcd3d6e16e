# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot.model import hosts

LABEL = st.sampled_from(["a", "b", "foo", "com"])
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
HOST = st.one_of(NAME, NAME.map(lambda name: f"*.{name}"), st.just("*"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("reviews", "reviews.ns1.svc.cluster.local"), ("reviews.ns2", "reviews.ns2"), ("*", "*"), ("*.foo.com", "*.foo.com"), ("", "")],
)
def test_short_names_belong_to_the_namespace_of_their_rule(host: str, expected: str) -> None:
    assert hosts.qualify(host, "ns1") == expected


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*.foo.com", "a.foo.com", True),
        ("*.foo.com", "foo.com", False),
        ("*.foo.com", "*.a.foo.com", True),
        ("*.foo.com", "*.foo.com", True),
        ("*", "anything", True),
        ("*", "*.com", True),
        ("a.foo.com", "*.foo.com", False),
        ("*.foo.com", "xfoo.com", False),
    ],
)
def test_covers(pattern: str, host: str, expected: bool) -> None:
    assert hosts.covers(pattern, host) is expected


@given(HOST, HOST)
def test_overlap_is_symmetric_and_follows_from_cover(first: str, second: str) -> None:
    assert hosts.overlaps(first, second) == hosts.overlaps(second, first)
    assert hosts.overlaps(first, second) or not hosts.covers(first, second)


@given(HOST, HOST, HOST)
def test_cover_is_transitive(first: str, second: str, third: str) -> None:
    if hosts.covers(first, second) and hosts.covers(second, third):
        assert hosts.covers(first, third)


@given(st.lists(HOST), st.lists(HOST))
def test_an_intersection_is_covered_by_both_sides(first: list[str], second: list[str]) -> None:
    for host in hosts.intersection(first, second):
        assert any(hosts.covers(pattern, host) for pattern in first)
        assert any(hosts.covers(pattern, host) for pattern in second)


def test_exact_names_are_more_specific_than_wildcards_and_long_ones_than_short() -> None:
    assert sorted(["*", "*.com", "b.com", "*.a.com", "a.long.com"], key=hosts.specificity) == [
        "a.long.com",
        "b.com",
        "*.a.com",
        "*.com",
        "*",
    ]


def test_a_neighbour_may_leave_out_the_namespace_and_a_stranger_may_not() -> None:
    host = "foo.ns1.svc.cluster.local"
    assert list(hosts.short_variants(host, "ns1")) == ["foo", "foo.ns1", "foo.ns1.svc", "foo.ns1.svc.cluster"]
    assert list(hosts.short_variants(host, "ns2")) == ["foo.ns1", "foo.ns1.svc", "foo.ns1.svc.cluster"]
    assert list(hosts.short_variants("example.com", "ns1")) == []
    assert list(hosts.short_variants("*.ns1.svc.cluster.local", "ns1")) == []
