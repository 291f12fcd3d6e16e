# SPDX-License-Identifier: Apache-2.0
"""Programs: what is fused, what fails alone, and that no text of a user becomes code."""

from __future__ import annotations

from typing import Any

import pytest

from common.expression import Vocabulary, analyse
from mixer.compiler import Build, Group, Program, compile_expression, compile_groups

VOCABULARY = Vocabulary.standard()


def group(condition: str | None, *rows: str, label: str = "rule") -> Group:
    builds = tuple(Build(index, (analyse(row, VOCABULARY),), f"instance {index}") for index, row in enumerate(rows))
    return Group(analyse(condition, VOCABULARY) if condition else None, builds, label)


def run(program: Program, *bags: dict[str, Any]) -> tuple[list[list[Any]], list[str], list[str]]:
    slots: list[list[Any]] = [[] for _ in range(program.slots)]
    failures: list[Any] = []
    warnings: list[Any] = []
    program.run(bags, slots, failures, warnings)
    return slots, [f"{label}: {error}" for label, error in failures], [f"{label}: {error}" for label, error in warnings]


def test_one_instance_fails_alone() -> None:
    program = compile_groups([group(None, "request.path", 'request.host | "-"')], slots=2, name="test")
    assert run(program, {}) == ([[], [("-",)]], ["instance 0: lookup failed: 'request.path'"], [])


def test_a_condition_that_fails_is_false_and_a_warning() -> None:
    program = compile_groups([group("request.size > 5", "1"), group(None, "2")], slots=1, name="test")
    assert run(program, {}) == ([[(2,)]], [], ["rule: lookup failed: 'request.size'"])


def test_a_bag_that_breaks_the_program_is_one_failure_and_the_rest_goes_on() -> None:
    program = compile_groups([group(None, 'source.labels["app"] | "-"')], slots=1, name="test")
    slots, failures, _ = run(program, {"source.labels": 5}, {"source.labels": {"app": "a"}})
    assert slots == [[("a",)]]
    assert len(failures) == 1


def test_equal_conditions_are_evaluated_once() -> None:
    condition = 'context.protocol == "http"'
    program = compile_groups([group(condition, "1"), group(condition, "2")], slots=1, name="test")
    assert program.source.count("== 'http'") == 1
    assert run(program, {"context.protocol": "http"})[0] == [[(1,), (2,)]]


def test_shared_labels_are_computed_once() -> None:
    label = 'source.labels["app"] | "unknown"'
    program = compile_groups([group('context.protocol == "http"', label, label, label)], slots=3, name="test")
    assert program.source.count("'unknown'") == 1
    assert run(program, {"context.protocol": "http", "source.labels": {"app": "a"}})[0] == [[("a",)]] * 3


def test_a_value_shared_under_one_condition_is_not_used_under_another() -> None:
    label = 'source.labels["app"] | "unknown"'
    groups = [group('context.protocol == "http"', label, label), group('context.protocol == "tcp"', label, label)]
    program = compile_groups(groups, slots=2, name="test")
    assert run(program, {"context.protocol": "tcp", "source.labels": {"app": "a"}})[0] == [[("a",)]] * 2


@pytest.mark.parametrize("text", ["')+__import__('os')", "\\\n'''", "{x}", "\x00", "é\u2028"])
def test_hostile_literals_stay_data(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    node = analyse(f"request.path | {quoted}", VOCABULARY)
    assert compile_expression(node)({}) == text


def test_headers_are_known_only_when_every_key_is_constant() -> None:
    known = compile_groups([group(None, 'request.headers["a"]', 'request.headers["b"] | "x"')], slots=2, name="test")
    assert known.headers == frozenset({"a", "b"})
    assert known.attributes == {"request.headers"}
    assert compile_groups([group(None, "request.headers[request.path]")], slots=1, name="test").headers is None
    assert compile_groups([group(None, "request.headers | emptyStringMap()")], slots=1, name="test").headers is None


def test_an_empty_program_runs() -> None:
    assert run(compile_groups([], slots=0, name="test"), {}) == ([], [], [])
