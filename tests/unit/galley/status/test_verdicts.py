# SPDX-License-Identifier: Apache-2.0
"""A verdict has the time at which it last changed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.resource import Resource, ResourceKey
from galley.analysis import Finding
from galley.analysis.codes import NAMESPACE_NOT_INJECTED, REFERENCED_RESOURCE_NOT_FOUND
from galley.analysis.finding import finding
from galley.status.verdicts import NONE
from tests.unit.galley.store import worlds

NAMES = st.sampled_from(["a", "b", "c", "d"])
Object = st.tuples(NAMES, st.booleans())
"""A name, and whether it is another object than before."""
Telling = st.tuples(NAMES, st.sampled_from([NAMESPACE_NOT_INJECTED, REFERENCED_RESOURCE_NOT_FOUND]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.lists(Object, unique_by=lambda each: each[0]), st.lists(Telling)), max_size=8))
def test_the_time_is_that_of_the_last_change_of_the_verdict(history: Any) -> None:
    verdicts, model = NONE, dict[ResourceKey, tuple[bool, str]]()
    objects: dict[str, Resource[Any]] = {}
    for number, (present, told) in enumerate(history):
        objects = {name: worlds.service(name) if anew or name not in objects else objects[name] for name, anew in present}
        found: list[Finding] = [finding(rule, worlds.service(name), (), "") for name, rule in told]
        now = f"t{number}"
        verdicts = verdicts.after(list(objects.values()), found, now)
        wrong = {each.resource for each in found if each.level != "Info"}
        keys = {resource.key for resource in objects.values()}
        model = {key: model[key] if key in model and model[key][0] is (key in wrong) else (key in wrong, now) for key in keys}
        assert verdicts.since == {key: since for key, (_, since) in model.items()}
