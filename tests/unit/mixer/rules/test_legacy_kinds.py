# SPDX-License-Identifier: Apache-2.0
"""The kinds that each adapter and template once had work as handlers and instances do."""

from __future__ import annotations

from common.checkprotocol.epoch import POLICY_COLLECTIONS
from common.config.kinds.mixer import Handler, Instance
from common.config.mixer_builtin.legacy import LEGACY_COLLECTIONS, as_current
from mixer.rules.references import candidates
from tests.unit.mixer.resources import denial, handler, resource, rule, snapshot_of

DENY = denial("no")


def test_the_whole_spec_is_the_parameters() -> None:
    assert as_current(resource("denier", "d", DENY)).spec == Handler(compiledAdapter="denier", params=DENY)
    spec = {"value": "source.name", "attribute_bindings": {"a": "$out.b"}}
    found = as_current(resource("listentry", "i", spec))
    assert found.spec == Instance(compiledTemplate="listentry", params={"value": "source.name"}, attributeBindings={"a": "$out.b"})
    assert found.key == resource("listentry", "i", spec).key
    assert as_current(handler("h", "denier")).spec == handler("h", "denier").spec


def test_a_rule_finds_them_by_name_and_kind() -> None:
    found = snapshot_of(
        resource("denier", "d", DENY), resource("checknothing", "i", {}), rule("r", "", ("d.denier", "i.checknothing.default"))
    )
    assert not found.findings
    assert list(found.handlers) == ["d.denier.default"]
    check = found.namespaces["default"].check
    assert check is not None
    (slot,) = check.slots
    assert (slot.handler.name, slot.instance.name) == ("d.denier.default", "i.checknothing.default")


def test_they_do_not_hide_a_handler_of_the_same_name() -> None:
    found = snapshot_of(
        resource("denier", "d", DENY),
        handler("d", "noop"),
        resource("checknothing", "i", {}),
        rule("r", "", ("d", "i.checknothing")),
    )
    assert [built.adapter for built in found.handlers.values()] == ["noop"]


def test_a_kind_is_tried_before_a_namespace() -> None:
    assert candidates("d.denier", "handler", "ns") == ("d.denier.ns", "d.handler.denier")


def test_their_changes_make_a_new_epoch() -> None:
    assert {*LEGACY_COLLECTIONS} < {*POLICY_COLLECTIONS}
    first, second = (snapshot_of(resource("denier", "d", DENY, version=version)).epoch for version in "12")
    assert first != second
