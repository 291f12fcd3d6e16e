# SPDX-License-Identifier: Apache-2.0
"""Bodies that are meant to hurt are refused at once, in the words of the Kubernetes API."""

from __future__ import annotations

import json
import time

import pytest

from tests.running_galley import RunningGalley

BATCH = "/apis/fourmast.io/v1/batch"
HANDLERS = "/apis/config.istio.io/v1alpha2/namespaces/default/handlers"
HEAD = '{"apiVersion": "config.istio.io/v1alpha2", "kind": "handler", "metadata": {"name": "x", "namespace": "default"}, "spec": '

BODIES = {
    "ten megabytes": (b'{"a": "' + b"x" * 10_000_000 + b'"}', 413),
    "a thousand levels": (b'{"a":' * 1000 + b"1" + b"}" * 1000, 400),
    "a million brackets": (b"[" * 1_000_000, 400),
    "nine hundred levels of params": ((HEAD + '{"params": ' + '{"a":' * 900 + "1" + "}" * 900 + "}}").encode(), 422),
    "NUL": ((HEAD + '{"compiledAdapter": "den\\u0000ier"}}').encode(), 422),
    "half a character": ((HEAD + '{"compiledAdapter": "den\\ud800ier"}}').encode(), 400),
    "a raw control character": ((HEAD + '{"compiledAdapter": "den\x07ier"}}').encode(), 400),
    "not UTF-8": (b'{"a": "\xff"}', 400),
    "a number without end": (b'{"a": ' + b"9" * 100_000 + b"}", 400),
    "a list": (b"[]", 400),
    "nothing": (b"", 400),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_is_refused_at_once(galley: RunningGalley, name: str) -> None:
    body, code = BODIES[name]
    async with galley.rest() as client:
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            answer = await client.post(HANDLERS, content=body, headers={"Content-Type": "application/json"})
            taken.append(time.perf_counter() - began)
            assert answer.status_code == code, answer.text
        assert answer.json()["kind"] == "Status"
        assert 10 < len(answer.json()["message"]) < 2000
    assert min(taken) < 0.1


@pytest.mark.parametrize("name", ["nine hundred levels of params", "NUL"])
async def test_a_batch_with_one_is_refused_too(galley: RunningGalley, name: str) -> None:
    document = json.loads(BODIES[name][0])
    async with galley.rest() as client:
        answer = await client.post(BATCH, json={"items": [{"document": document}]})
    assert answer.status_code == 422
    assert answer.json()["items"][0]["problems"]


@pytest.mark.parametrize("path", [BATCH, "/apis/fourmast.io/v1/rollback"])
async def test_other_bodies_are_read_as_carefully(galley: RunningGalley, path: str) -> None:
    async with galley.rest() as client:
        for body in (b'{"a": "\xff"}', b"[" * 100_000, b""):
            answer = await client.post(path, content=body)
            assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
