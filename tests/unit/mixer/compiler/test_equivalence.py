# SPDX-License-Identifier: Apache-2.0
"""The compiler means what the reference evaluator means: the same value, the same failure, the same references."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from common.expression import Checked, Evaluation, ExpressionError, ValueType, analyse
from mixer.attributes.bag import Tracker, TypedBag
from mixer.compiler import Build, Group, compile_expression, compile_groups
from mixer.compiler.emission import is_total, map_keys, reads
from tests.unit.mixer.compiler.expressions import VOCABULARY, bags, expressions

Outcome = tuple[str, Any]
TYPES = st.sampled_from([type_ for type_ in ValueType if type_])
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def checked(text: str) -> Checked:
    try:
        return analyse(text, VOCABULARY)
    except ExpressionError as error:
        if "regexp" not in error.message:  # the only mistake that the generator makes
            raise
        return reject()


def outcome(function: Any, *arguments: Any) -> Outcome:
    try:
        return "value", function(*arguments)
    except ExpressionError as error:
        return error.kind, error.message


@examples
@given(st.data(), TYPES)
def test_a_tracked_program_agrees_in_everything(data: st.DataObject, type_: ValueType) -> None:
    node = checked(data.draw(expressions(type_)))
    bag = data.draw(bags(wrong_types=True))
    reference = Evaluation(bag)
    tracker = Tracker(TypedBag(bag, VOCABULARY))
    assert outcome(compile_expression(node), tracker) == outcome(reference.strict, node)
    assert {(name, key): present for name, key, present in tracker.snapshot()} == reference.referenced


@examples
@given(st.data(), st.lists(TYPES, min_size=1, max_size=4))
def test_a_fused_program_agrees_row_by_row(data: st.DataObject, types: list[ValueType]) -> None:
    """Hoisting and sharing change nothing, though neighbours in the program fail or share parts."""
    nodes = [checked(data.draw(expressions(type_, 2))) for type_ in types]
    condition = checked(data.draw(expressions(ValueType.BOOL, 2)))
    bag = data.draw(bags(wrong_types=False))
    groups = [
        Group(condition, tuple(Build(index, (node, (node, nodes[0])), str(index)) for index, node in enumerate(nodes)), "first"),
        Group(None, tuple(Build(index, (node,), str(index)) for index, node in enumerate(reversed(nodes), len(nodes))), "second"),
        Group(condition, (Build(2 * len(nodes), (nodes[-1],), "last"),), "third"),
    ]
    program = compile_groups(groups, slots=2 * len(nodes) + 1, name="test")
    holds = outcome(Evaluation(bag).strict, condition) == ("value", True)
    for run, source in ((program.run, bag), (program.run_tracked, Tracker(bag))):
        slots: list[list[Any]] = [[] for _ in range(program.slots)]
        failures: list[Any] = []
        run([source], slots, failures, [])
        found = {node: outcome(Evaluation(bag).strict, node) for node in nodes}
        expected_failures = []
        for index, node in enumerate(nodes):
            both = (found[node], found[nodes[0]])
            ok = all(kind == "value" for kind, _ in both)
            if holds:
                assert slots[index] == ([(both[0][1], (both[0][1], both[1][1]))] if ok else [])
                expected_failures += [] if ok else [next(value for kind, value in both if kind == "eval")]
            else:
                assert slots[index] == []
        for index, node in enumerate(reversed(nodes), len(nodes)):
            kind, value = found[node]
            assert slots[index] == ([(value,)] if kind == "value" else [])
            expected_failures += [value] if kind == "eval" else []
        if holds and found[nodes[-1]][0] == "eval":
            expected_failures.append(found[nodes[-1]][1])
        assert [str(error) for _, error in failures] == expected_failures


@examples
@given(st.data(), TYPES)
def test_what_is_called_total_never_fails(data: st.DataObject, type_: ValueType) -> None:
    node = checked(data.draw(expressions(type_)))
    assume(is_total(node))
    assert outcome(Evaluation(data.draw(bags(wrong_types=False))).strict, node)[0] == "value"


@examples
@given(st.data(), TYPES)
def test_reads_name_all_that_can_be_referenced(data: st.DataObject, type_: ValueType) -> None:
    node = checked(data.draw(expressions(type_)))
    evaluation = Evaluation(data.draw(bags(wrong_types=False)))
    outcome(evaluation.strict, node)
    assert {name for name, _ in evaluation.referenced} <= reads(node)
    keys = map_keys(node, "m1")
    assert keys is None or {key for name, key in evaluation.referenced if name == "m1" and key is not None} <= keys
