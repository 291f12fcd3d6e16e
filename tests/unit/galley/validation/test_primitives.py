# SPDX-License-Identifier: Apache-2.0
"""The small rules, with the cases of Istio 1.4 and the edges around them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.problem import Path, Problem
from galley.validation import hosts
from galley.validation import primitives as p

Rule = Callable[[str, Path], Iterator[Problem]]


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    [
        (p.dns_label, ["a", "A-1", "a" * 63], ["", "-a", "a-", "a.b", "a_b", "a" * 64, "a\n"]),
        (p.fqdn, ["a", "a.b", "a.b.", "A.example.com"], ["", ".", "a..b", "a.1", "*.a", "a." * 130, "a b.c"]),
        (p.wildcard_domain, ["*", "*.a.b", "*a.b", "*-a.b", "a", "a.b."], ["", "**.a", "a.*", "*.1", "a*.b", "*..b"]),
        (p.ipv4_subnet, ["10.0.0.1", "10.0.0.0/8", "10.1.2.3/16"], ["10.0.0", "10.0.0.1/33", "::1", "a", "1.2.3.4/8/8"]),
        (p.unix_path, ["unix:///a/b", "unix://@a"], ["unix://", "unix://a", "unix:///a/"]),
        (p.protocol, ["HTTP", "grpc-Web", "tcp"], ["", "htp", "icmp"]),
        (p.duration, ["1ms", "5s", "1m30s", "1.5s"], ["0s", "0.5ms", "1.0005s", "5", "-1s"]),
        (p.label_key, ["a", "a_b.c", "app.io/name"], ["", "/a", "a/", "-a", "a b", "_.io/a", "a" * 64]),
        (p.header_name, ["x", "X-A_b", ":authority", "end-user"], ["", "a b", "a:b", "é"]),
        (p.regex, [".*", "a|b", "[0-9]{3}", "(?i)x"], ["*", "(", "(?=a)", r"(a)\1", "a" * 1025]),
    ],
)
def test_a_rule_accepts_and_refuses(rule: Rule, right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if list(rule(text, ()))] == []
    assert [text for text in wrong if not list(rule(text, ()))] == []


@pytest.mark.parametrize(("value", "good"), [(0, True), (0.0001, True), (100, True), (0.00001, False), (100.1, False), (-1, False)])
def test_fractions(value: float, good: bool) -> None:
    assert (not list(p.fraction(value, ()))) is good


@pytest.mark.parametrize("pattern", ["*", "(?=a)", r"(a)\1"])
def test_a_refused_regex_comes_with_a_remedy(pattern: str) -> None:
    (found,) = p.regex(pattern, ("uri",))
    assert "write '.*'" in found.message or "no look-around and no back-references" in found.message


def test_labels_judge_keys_and_values() -> None:
    found = [each.path for each in p.labels({"ok": "v1", "empty": "", "-bad": "x", "b": "no spaces"}, ("labels",))]
    assert found == ['labels["-bad"]', "labels.b"]


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("*", "foo.com", True),
        ("*.com", "*.foo.com", True),
        ("*.foo.com", "*.bar.com", False),
        ("*.foo.com", "foo.com", False),
        ("foo.com", "FOO.com", True),
        ("a.foo.com", "*.foo.com", True),
        ("foo.com", "bar.com", False),
    ],
)
def test_hosts_overlap(a: str, b: str, overlap: bool) -> None:
    assert hosts.matches(a, b) is overlap
    assert hosts.matches(b, a) is overlap


HOST = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(".".join)
PATTERN = st.tuples(st.sampled_from(["", "*", "*."]), HOST).map("".join)


@given(PATTERN, PATTERN, HOST)
def test_host_relations_agree_with_the_names_they_stand_for(a: str, b: str, name: str) -> None:
    in_a, in_b = fnmatch.fnmatchcase(name, a), fnmatch.fnmatchcase(name, b)
    if in_a and in_b:
        assert hosts.matches(a, b)
    if in_a and hosts.is_subset(a, b):
        assert in_b


def test_short_names_belong_to_their_namespace() -> None:
    assert hosts.fully_qualified("reviews", "prod") == "reviews.prod.svc.cluster.local"
    assert hosts.fully_qualified("reviews.prod", "x") == "reviews.prod"
    assert hosts.fully_qualified("*", "x") == "*"
