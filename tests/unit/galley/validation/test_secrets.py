# SPDX-License-Identifier: Apache-2.0
"""A secret written into a handler is refused, and its value is not repeated by whoever refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from common.config.resource import from_document
from galley.validation import validate_value
from galley.validation.context import STANDARD, Context

SCHEMA = {
    "type": "object",
    "properties": {
        "url": {"type": "string"},
        "password": {"type": "string", "x-secret": True},
        "key": {"type": "string", "writeOnly": True},
        "pin": {"type": "integer", "format": "password"},
        "accounts": {"type": "array", "items": {"$ref": "#/$defs/account"}},
    },
    "required": ["password"],
    "additionalProperties": False,
    "$defs": {"account": {"type": "object", "properties": {"token": {"type": "string", "x-secret": True}}, "additionalProperties": False}},
}


@pytest.fixture
def context() -> Context:
    adapter = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "adapter",
        "metadata": {"name": "safe", "namespace": "istio-system"},
        "spec": {"name": "safe", "description": "keeps secrets", "templates": ["quota"], "schema": SCHEMA},
    }
    return STANDARD.with_resources([from_document(adapter)])


def problems(context: Context, **params: Any) -> dict[str, str]:
    handler = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "handler",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {"adapter": "safe", "connection": {"address": "localhost:9000"}, "params": params},
    }
    return {problem.path: problem.message for problem in validate_value(handler, context=context)[1]}


def test_references_are_taken_whatever_type_the_adapter_wants(context: Context) -> None:
    assert problems(context, password={"fromFile": "/run/secrets/p"}, pin={"fromEnv": "PIN"}, accounts=[{"token": {"fromEnv": "T"}}]) == {}


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"password": "hunter2"}, "password"),
        ({"password": {"fromFile": "/p"}, "key": "hunter2"}, "key"),
        ({"password": {"fromFile": "/p"}, "pin": 4711}, "pin"),
        ({"password": {"fromFile": "/p"}, "accounts": [{}, {"token": "hunter2"}]}, "accounts[1].token"),
        ({"password": {"value": "hunter2"}}, "password"),
        ({"password": {"fromFile": "/p", "fromEnv": "P"}}, "password"),
        ({"password": {}}, "password"),
    ],
)
def test_values_are_refused_without_being_quoted(context: Context, params: dict[str, Any], place: str) -> None:
    found = problems(context, **params)
    assert list(found) == [f"spec.params.{place}"]
    (message,) = found.values()
    assert "is a secret and would be kept in every revision; write where Mixer finds it: {fromFile: " in message
    assert "hunter2" not in message
    assert "4711" not in message


def test_what_is_no_secret_is_checked_as_before(context: Context) -> None:
    found = problems(context, password={"fromFile": "/p"}, url=5)
    assert "expected a text, found the number 5" in found["spec.params.url"]
    assert "field 'password' is missing" in problems(context, url="x")["spec.params"]
