# SPDX-License-Identifier: Apache-2.0
"""Input that is meant to hurt is refused at once: within a tenth of a second, with a sentence that says what to do.

Each is measured by the best of three, so that a busy machine does not fail it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from galley.validation import validate_documents, validate_value

LIMIT = 0.1  # seconds
VIRTUAL_SERVICE = "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [a]\n"
ROUTE = "route: [{destination: {host: a}}]"


def bomb(entry: str) -> bytes:
    """Nine times nine times nine …"""
    lines = ["a: &a " + ("{x: 1}" if "<<" in entry else "[lol]")]
    lines += [f"{new}: &{new} {entry % ','.join(['*' + old] * 9)}" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(lines).encode()


def regex(pattern: str) -> bytes:
    return f"{VIRTUAL_SERVICE}  http: [{{match: [{{uri: {{regex: {json.dumps(pattern)}}}}}], {ROUTE}}}]\n".encode()


def rule(match: str) -> bytes:
    spec = f"spec: {{match: {json.dumps(match)}, actions: [{{handler: a, instances: [b]}}]}}\n"
    return f"apiVersion: config.istio.io/v1alpha2\nkind: rule\nmetadata: {{name: x}}\n{spec}".encode()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def many_overlapping_hosts(count: int) -> bytes:
    hosts = ", ".join(f"h{number}.example.com" for number in range(count))
    return VIRTUAL_SERVICE.replace("[a]", f'[{hosts}, "*.example.com"]').encode() + f"  http: [{{{ROUTE}}}]\n".encode()


FILES: dict[str, tuple[bytes, str]] = {
    "aliases of aliases": (bomb("[%s]"), "aliases repeat more than"),
    "merges of merges": (bomb("{<<: [%s]}"), "aliases repeat more than"),
    "a key twice": (b"a: 1\na: 2\n", "appears twice"),
    "a key twenty thousand times": (b"a: 1\n" * 20_000, "appears twice"),
    "ten megabytes": (b"a: " + b"x" * 10_000_000, "at most 4194304 are read"),
    "a thousand lists in one another": (b"[" * 1000 + b"]" * 1000, "levels deep"),
    "a million brackets": (b"[" * 1_000_000, "levels deep"),
    "a thousand mappings in one another": ("".join(" " * depth + "a:\n" for depth in range(1000)).encode(), "levels deep"),
    "a thousand JSON objects in one another": (b'{"a":' * 1000 + b"1" + b"}" * 1000, "levels deep"),
    "a hundred thousand dashes": (b"- " * 100_000, "levels deep"),
    "NUL": (b"a: \0", "control characters"),
    "a million NULs": (b"\0" * 1_000_000, "control characters"),
    "a bell": (b"a: \x07", "control characters"),
    "an escaped NUL": (b'a: "\\0"', "control character (U+0000)"),
    "Latin-1": (b"a: \xe4", "not UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "not UTF-8"),
    "a number without end": (b"a: " + b"9" * 100_000, "not a number"),
    "a regex that backtracks elsewhere, with look-ahead": (regex("(?=(a+))a*b\\1"), "not a valid RE2 regex"),
    "a regex with nested repetitions": (regex("((a{1,1000}){1,1000}){1,1000}"), "not a valid RE2 regex"),
    "a regex that makes a large program": (regex("(a|b|c){1,1000}(d|e|f){1,1000}(g|h){1,1000}"), "too large"),
    "a regex of all letters, five hundred times": (regex("[\\p{L}]{500}"), "too large"),
    "a regex of a megabyte": (regex("a" * 1_000_000), "at most 1024"),
    "an expression in five thousand parentheses": (rule("(" * 5000 + "true" + ")" * 5000), "nested deeper"),
    "an expression of a megabyte": (rule("!" * 1_000_000 + "true"), "at most 16384"),
    "a thousand hosts that overlap": (many_overlapping_hosts(1000), "overlaps with"),
    "an unknown field of a megabyte": (f"{VIRTUAL_SERVICE}  ? {'x' * 1_000_000}\n  : 1\n".encode(), "unknown field"),
}


def best_of(runs: int, action: Callable[[], Any]) -> float:
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken)


@pytest.fixture(autouse=True, scope="module")
def _schemas_are_made() -> None:
    for text in (VIRTUAL_SERVICE.encode(), rule("true")):
        validate_documents(text.replace(b"hosts", b"host"), "f")


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_at_once(name: str) -> None:
    text, words = FILES[name]
    results = validate_documents(text, "f")
    assert any(words in found.message for result in results for found in result.problems)
    assert not any(result.is_valid for result in results)
    assert all(len(found.message) < 2000 for result in results for found in result.problems)
    assert best_of(3, lambda: validate_documents(text, "f")) < LIMIT


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "deep": ({"kind": "handler", "spec": {"compiledAdapter": "denier", "params": nested(900)}}, "levels deep"),
    "deep where nobody looks": ({"kind": "instance", "spec": {"template": "mine", "params": nested(900)}}, "levels deep"),
    "deep status": ({"kind": "handler", "status": nested(900)}, "levels deep"),
    "NUL": ({"kind": "handler", "spec": {"name": "a\0b"}}, "control character (U+0000)"),
    "NUL in a key": ({"kind": "handler", "spec": {"params": {"a\0b": 1}}}, "control character (U+0000)"),
    "half a character": ({"kind": "handler", "spec": {"name": "\ud800"}}, "half of a character"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_refused_at_once(name: str) -> None:
    part, words = BODIES[name]
    body = {"apiVersion": "config.istio.io/v1alpha2", "metadata": {"name": "x", "namespace": "default"}, **part}
    resource, problems = validate_value(body)
    assert resource is None
    assert [words in found.message for found in problems] == [True]
    str(problems).encode()  # it can be sent and stored
    assert best_of(3, lambda: validate_value(body)) < LIMIT


def test_thousands_of_mistakes_are_not_all_explained() -> None:
    fields = "".join(f"  f{number}: 1\n" for number in range(5000))
    (result,) = validate_documents((VIRTUAL_SERVICE + fields).encode(), "f")
    assert len(result.problems) == 101
    assert any("more than 100 problems" in found.message for found in result.problems)


def test_many_hosts_are_compared_quickly() -> None:
    """All pairs of 5,000 would take seconds."""
    hosts = ", ".join(f"h{number}.example.com" for number in range(5000))
    text = VIRTUAL_SERVICE.replace("[a]", f"[{hosts}]").encode() + f"  http: [{{{ROUTE}}}]\n".encode()
    assert validate_documents(text, "f")[0].is_valid
    assert best_of(2, lambda: validate_documents(text, "f")) < 0.5
