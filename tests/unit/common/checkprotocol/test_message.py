# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.checkprotocol.attributes import FILTER_ATTRIBUTES, Reference, Tag
from common.checkprotocol.message import (
    MAX_RECORDS,
    Answer,
    AnsweredHeader,
    AnsweredQuota,
    AskedQuota,
    MessageError,
    Question,
    Status,
    record,
)

VECTORS = json.loads(resources.files("common.checkprotocol").joinpath("vectors.json").read_text())

texts = st.text(max_size=20)
_values = {
    Tag.STRING: texts,
    Tag.INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    Tag.BOOL: st.booleans(),
    Tag.ADDRESS: st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    Tag.ENTRY: st.dictionaries(texts, texts, max_size=5),
}
attributes = st.fixed_dictionaries({}, optional={name: _values[tag] for name, tag in FILTER_ATTRIBUTES.items()})
quotas = st.dictionaries(texts, st.builds(AskedQuota, st.integers(0, 1 << 40), st.booleans()), max_size=3)
statuses = st.none() | st.builds(Status, st.integers(1, 16), texts, st.integers(200, 599), texts)
shapes = st.lists(st.builds(Reference, texts, texts), max_size=4).map(tuple)


@given(st.builds(Question, attributes, texts, texts, texts, quotas, st.lists(st.tuples(texts, texts), max_size=2).map(tuple)))
def test_a_question_is_read_as_it_was_written(question: Question) -> None:
    question.attributes.setdefault("request.headers", {})
    assert Question.parse(question.encode()) == question


@given(
    st.builds(
        Answer,
        denial=statuses,
        failure=statuses,
        valid_duration=st.integers(1, 10**9).map(lambda ms: ms / 1000),
        valid_use_count=st.integers(1, 10**6),
        shape=shapes,
        headers=st.lists(st.builds(AnsweredHeader, texts, texts, texts, texts), max_size=3).map(tuple),
        direct_response=st.none() | st.tuples(st.integers(200, 599), texts),
        quotas=st.dictionaries(
            texts, st.builds(AnsweredQuota, st.integers(0, 1 << 40), st.integers(0, 10**6).map(float), shapes), max_size=3
        ),
        selection=st.none() | st.tuples(texts, st.lists(st.sampled_from(["user", "cookie", "*"]), max_size=3).map(tuple)),
        again=texts,
        comparisons=st.lists(st.tuples(texts, texts, st.booleans()), max_size=2).map(tuple),
    )
)
def test_an_answer_is_read_as_it_was_written(answer: Answer) -> None:
    assert Answer.parse(answer.encode()) == answer


@pytest.mark.parametrize(("duration", "uses", "shape"), [(0.0, 5, ()), (5.0, 0, ()), (5.0, 5, None)])
def test_what_may_not_be_kept_carries_no_validity(duration: float, uses: int, shape: tuple[Reference, ...] | None) -> None:
    assert Answer(valid_duration=duration, valid_use_count=uses, shape=shape).encode() == b""


@pytest.mark.parametrize("case", VECTORS["malformedQuestions"], ids=lambda case: case["case"])
def test_malformed_questions_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        Question.parse(case["body"].encode())


@pytest.mark.parametrize("case", VECTORS["malformedAnswers"], ids=lambda case: case["case"])
def test_malformed_answers_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        Answer.parse(case["body"].encode())


@pytest.mark.parametrize("case", VECTORS["answers"], ids=lambda case: case["case"])
def test_answers_mean_what_the_vectors_say(case: dict[str, Any]) -> None:
    answer = Answer.parse(case["body"].encode())
    if answer.direct_response is not None:
        assert answer.direct_response == (case["status"], case["text"])
    elif answer.denial is not None:
        assert (answer.denial.http_status, f"{answer.denial.name}:{answer.denial.message}") == (case["status"], case["text"])
    else:
        assert case["status"] == 200
    assert (answer.shape is not None) == case["kept"]
    assert answer.encode() == case["body"].encode()


@given(st.binary(max_size=60))
def test_any_octets_are_read_or_refused(body: bytes) -> None:
    for reader in (Question.parse, Answer.parse):
        with contextlib.suppress(MessageError):
            reader(body)


def test_the_number_of_records_is_bounded() -> None:
    Question.parse(record("M", "request.headers", "a", "b") * MAX_RECORDS)
    with pytest.raises(MessageError, match="more than"):
        Question.parse(record("M", "request.headers", "a", "b") * (MAX_RECORDS + 1))


def test_octets_that_are_no_text_are_replaced() -> None:
    question = Question.parse(b"M15:request.headers4:user2:\xff\xfe")
    assert question.attributes["request.headers"] == {"user": "��"}


def test_nobody_gives_tokens_back() -> None:
    with pytest.raises(MessageError, match="no amount of a quota"):
        Question.parse(record("Q", "requests", "-5", "1"))
