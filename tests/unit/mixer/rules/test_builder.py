# SPDX-License-Identifier: Apache-2.0
"""From resources to snapshots: what is left out and said, what stays in force, which handlers live on."""

from __future__ import annotations

from typing import Any

import pytest

from common.checkprotocol.epoch import policy_epoch
from common.config.resource import Resource
from mixer.adapters.contract import Adapter, Environment, HandlerSpec
from mixer.adapters.denier import DENIER
from mixer.rules.builder import SnapshotBuilder
from mixer.rules.snapshot import Snapshot
from tests.unit.mixer.resources import denial, environment, handler, instance, load, resource, rule, snapshot_of

GOOD = (handler("deny", "denier", denial("no")), instance("nothing", "checknothing"), rule("r", "", ("deny", "nothing")))


def findings(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    return [(str(each.resource), each.field, each.message) for each in snapshot.findings]


def test_a_good_configuration_has_no_findings() -> None:
    snapshot = snapshot_of(*GOOD)
    assert findings(snapshot) == []
    assert list(snapshot.handlers) == ["deny.handler.default"]
    rules = snapshot.namespaces["default"]
    assert rules.check is not None
    assert [(slot.handler.short_name, slot.instance.name) for slot in rules.check.slots] == [("deny.default", "nothing.instance.default")]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (rule("r2", "request.size ==", ("deny", "nothing")), ("spec.match", "the expression ends too early")),
        (rule("r2", "request.size", ("deny", "nothing")), ("spec.match", "expected an expression of type BOOL, found INT64")),
        (rule("r2", "no.such", ("deny", "nothing")), ("spec.match", "unknown attribute no.such")),
        (rule("r2", "", ("gone", "nothing")), ("spec.actions[0].handler", "Handler not found: handler='gone.handler.default'")),
        (rule("r2", "", ("deny", "gone")), ("spec.actions[0].instances[0]", "Instance not found: instance='gone.instance.default'")),
        (rule("r2", ""), ("spec.actions", "No valid actions found in rule")),
        (instance("i2", "listentry", {"value": "no.such"}), ("spec.params.value", "unknown attribute no.such")),
        (instance("i2", "tracespan"), ("spec.compiledTemplate", "unknown template 'tracespan'")),
        (resource("instance", "i2", {}), ("spec.compiledTemplate", "the instance names no template")),
        (
            rule("r2", "", headers=[{"name": "x", "values": ["request.size"]}]),
            ("spec.requestHeaderOperations[0].values[0]", "expected an expression of type STRING, found INT64"),
        ),
    ],
)
def test_what_is_wrong_is_left_out_and_named_and_the_rest_works(bad: Resource[Any], expected: tuple[str, str]) -> None:
    snapshot = snapshot_of(*GOOD, bad)
    found = findings(snapshot)
    assert (found[0][0], found[0][1]) == (str(bad.key), expected[0])
    assert found[0][2].startswith(expected[1])
    rules = snapshot.namespaces["default"]
    assert rules.check is not None
    assert len(rules.check.slots) == 1


def test_an_instance_of_a_template_that_the_adapter_does_not_take() -> None:
    snapshot = snapshot_of(*GOOD, instance("m", "metric", {"value": "1"}), rule("r2", "", ("deny", "m")))
    assert findings(snapshot)[0][:2] == ("rule default/r2", "spec.actions[0].instances[0]")


def test_handlers_that_no_rule_needs_are_not_built() -> None:
    snapshot = snapshot_of(*GOOD, handler("idle", "denier", {"status": {"code": 99}}))
    assert findings(snapshot) == []
    assert "idle.handler.default" not in snapshot.handlers


def test_a_handler_that_cannot_be_built_is_named_and_its_rules_are_skipped() -> None:
    wrong = handler("bad", "denier", {"status": {"code": 99}})
    snapshot = snapshot_of(*GOOD, wrong, rule("r2", "", ("bad", "nothing")), handler("odd", "nosuch"), rule("r3", "", ("odd", "nothing")))
    assert [each[:2] for each in findings(snapshot)] == [
        ("handler default/bad", "spec.params.status.code"),
        ("handler default/odd", "spec.compiledAdapter"),
    ]
    assert list(snapshot.handlers) == ["deny.handler.default"]


def test_references_cross_namespaces_by_full_name() -> None:
    snapshot = snapshot_of(*GOOD, rule("r2", "", ("deny.default", "nothing.instance.default"), namespace="other"))
    assert findings(snapshot) == []
    assert "other" in snapshot.namespaces


def test_mesh_wide_rules_stand_first_everywhere() -> None:
    mesh = (
        handler("deny", "denier", denial("mesh"), namespace="istio-system"),
        rule("m", "", ("deny", "nothing.default"), namespace="istio-system"),
    )
    snapshot = snapshot_of(*GOOD, *mesh)
    own, default = snapshot.namespaces["default"].check, snapshot.default.check
    assert own is not None and default is not None
    assert [slot.handler.short_name for slot in own.slots] == ["deny.istio-system", "deny.default"]
    assert [slot.handler.short_name for slot in default.slots] == ["deny.istio-system"]
    assert "istio-system" not in snapshot.namespaces


def test_header_operations_of_the_mesh_are_not_inherited_by_a_namespace_with_policy() -> None:
    operation = [{"name": "x-mesh", "values": ['"1"']}]
    snapshot = snapshot_of(*GOOD, rule("m", "", headers=operation, namespace="istio-system"))
    assert snapshot.default.directives is not None
    assert snapshot.namespaces["default"].directives is None
    no_policy = snapshot_of(
        rule("m", "", headers=operation, namespace="istio-system"),
        handler("p", "noop"), instance("n", "reportnothing"), rule("r", "", ("p", "n")),
    )  # fmt: skip
    assert no_policy.namespaces["default"].directives is no_policy.default.directives


def test_the_last_good_version_stays_in_force() -> None:
    builder = SnapshotBuilder(environment())
    first = builder.build(GOOD, Snapshot())
    broken = (GOOD[0], GOOD[1], rule("r", "request.size ==", ("deny", "nothing"), version="2"))
    second = builder.build(broken, first)
    assert second.namespaces["default"].check is not None
    assert findings(second)[0][2].endswith("the last good version stays in force")
    assert findings(builder.build(GOOD, second)) == []
    gone = builder.build(GOOD[:2], second)
    assert "default" not in gone.namespaces
    fresh = builder.build(broken, gone)
    assert "default" not in fresh.namespaces, "a deleted rule has no last good version"


def test_a_handler_whose_new_parameters_are_wrong_lives_on() -> None:
    builder = SnapshotBuilder(environment())
    first = builder.build(GOOD, Snapshot())
    second = builder.build((handler("deny", "denier", {"status": {"code": 99}}, version="2"), *GOOD[1:]), first)
    assert second.handlers["deny.handler.default"] is first.handlers["deny.handler.default"]
    assert findings(second)[0][2].endswith("the last good version stays in force")


def test_handlers_survive_what_does_not_concern_them() -> None:
    builder = SnapshotBuilder(environment())
    first = builder.build(GOOD, Snapshot())
    name = "deny.handler.default"
    second = builder.build((*GOOD, rule("r2", "request.size > 5", ("deny", "nothing"))), first)
    assert second.handlers[name] is first.handlers[name]
    third = builder.build((handler("deny", "denier", denial("other")), *GOOD[1:]), second)
    assert third.handlers[name] is not first.handlers[name]
    fourth = builder.build((*GOOD, instance("n2", "checknothing"), rule("r2", "", ("deny", "n2"))), first)
    assert fourth.handlers[name] is not first.handlers[name], "another instance is handed over"


def test_an_adapter_that_breaks_takes_nothing_with_it() -> None:
    def explode(spec: HandlerSpec, within: Environment) -> Any:
        raise RuntimeError("bug")

    adapters = {"denier": DENIER, "noop": Adapter(DENIER.info._replace(name="noop"), explode)}
    builder = SnapshotBuilder(environment(), adapters=adapters)
    snapshot = builder.build((*GOOD, handler("boom", "noop"), rule("r2", "", ("boom", "nothing"))), Snapshot())
    assert findings(snapshot)[0][2] == "adapter noop failed: RuntimeError: bug"
    assert "deny.handler.default" in snapshot.handlers


def test_manifests_extend_the_vocabulary() -> None:
    manifest = resource("attributemanifest", "m", {"attributes": {"my.tier": {"valueType": "STRING"}}})
    snapshot = snapshot_of(*GOOD, manifest, rule("r2", 'my.tier == "gold"', ("deny", "nothing")))
    assert findings(snapshot) == []
    assert len(snapshot.vocabulary) == 91


def test_the_epoch_is_the_one_that_pilot_computes() -> None:
    snapshot = snapshot_of(*GOOD)
    assert snapshot.epoch == policy_epoch((each.key.collection, each.key.mcp_name, "1") for each in GOOD)


def test_policy_knows_the_headers_it_needs() -> None:
    agent = rule("r2", 'request.useragent == "x" && request.headers["x-user"] == "john"', ("deny", "nothing"))
    assert snapshot_of(*GOOD, agent).policy_headers == frozenset({"user-agent", "x-user"})
    every = rule("r3", "request.headers[request.path] == request.host", ("deny", "nothing"))
    assert snapshot_of(*GOOD, every).policy_headers is None


@pytest.mark.parametrize("sample", ["mesh/telemetry.yaml", "demo/config/deny-john.yaml", "demo/config/ratelimit.yaml"])
def test_the_samples_are_without_findings(sample: str) -> None:
    resources = load(f"deploy/samples/{sample}")
    assert resources
    assert findings(snapshot_of(*resources)) == []
