# SPDX-License-Identifier: Apache-2.0
"""Configuration that nobody validated: goldens with extreme values put into them. The generator must not raise, and Envoy must accept what it makes.

Galley refuses most of this. Pilot must survive it all the same: another version of Galley may not, and one refused listener or route
configuration holds up a whole proxy. FOURMAST_FUZZ_SEEDS sets how many mutants are tried (each is one of a fixed sequence).
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config.resource import DecodeError, Resource, from_document
from pilot.model.push import PushContext
from tests.generated_mesh import Answers, Case, Mesh, ProxyDocument, bootstrap, proxy_of
from tests.integration.pilot.test_envoy_accepts import GOLDENS, validate

SEEDS = int(os.environ.get("FOURMAST_FUZZ_SEEDS", "100"))
BATCH = 50

NUMBERS = (-1, 0, 1, 2**31, 2**33, 65536, 99999, 15001, 15006)
TEXTS = (
    *("", "*", "%", "a b", "\n", "x\r\ny", "\0", "*.", "**", "*.*", "foo.*", "*foo.bar", "a/b", "ä", "$", "..", "UPPER.example"),
    *("(?=x)", "[", "x" * 2000, "a" * 300, "%REQ(x)%", "host", ":path", "mesh", "unix:///x"),
    *("-5s", "0s", "1e9h", "999999999h", "0.0000000001s", "10.0.0.1", "::1", "0.0.0.0", "0.0.0.0/0"),
)
LEFT_ALONE = frozenset({"accessLogFile"})
"""Files on the proxy's machine: only the proxy knows whether they can be opened."""


def read(path: Path) -> tuple[dict[str, ProxyDocument], list[dict[str, Any]]]:
    text = path.read_text("utf-8")
    return dict(Case.read(text).proxies), [item for item in yaml.safe_load_all(text.split("\n---\n", 1)[1]) if item]


ORIGINALS = [read(path) for path in sorted(GOLDENS.glob("*.input.yaml"))]


def leaves(value: Any, holder: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every plain value."""
    if isinstance(value, dict | list):
        for inner_key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, value, inner_key)
    elif holder is not None and key not in LEFT_ALONE:
        yield holder, key


def mutate(chance: random.Random, document: dict[str, Any]) -> None:
    payload = "spec" if "spec" in document else "subsets"
    found = list(leaves(document[payload]))
    for holder, key in chance.sample(found, min(len(found), chance.choice((1, 1, 2, 3)))):
        old = holder[key]
        holder[key] = not old if isinstance(old, bool) else chance.choice(NUMBERS if isinstance(old, int) else TEXTS)
        if isinstance(holder, dict) and chance.random() < 0.1:
            holder[chance.choice(TEXTS)] = holder.pop(key)


def mutant(seed: int) -> dict[str, Answers]:
    """The answers to all proxies of one golden, some of whose resources were changed."""
    chance = random.Random(seed)
    proxies, originals = chance.choice(ORIGINALS)
    documents = json.loads(json.dumps(originals, default=str))
    for document in chance.choices(documents, k=chance.choice((1, 2, 3))):
        mutate(chance, document)
    resources: dict[str, dict[str, Resource[Any]]] = {}
    for document in documents:
        try:
            resource = from_document(document)
        except DecodeError:
            continue
        resources.setdefault(resource.kind.collection, {})[resource.key.mcp_name] = resource
    mesh = Mesh()
    mesh.push = PushContext.build(resources)
    return {f"seed-{seed}.{name}": mesh.ask(proxy_of(name, document)) for name, document in proxies.items()}


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_envoy_accepts_what_becomes_of_bad_configuration(first: int, tmp_path: Path) -> None:
    answers = {name: answer for seed in range(first, min(first + BATCH, SEEDS)) for name, answer in mutant(seed).items()}
    if not validate(bootstrap(answers), tmp_path):
        return
    refused = {name: validate(bootstrap({name: answer}), tmp_path) for name, answer in answers.items()}
    pytest.fail("\n".join(f"{name}: {reason[-500:]}" for name, reason in refused.items() if reason) or "accepted alone, refused together")
