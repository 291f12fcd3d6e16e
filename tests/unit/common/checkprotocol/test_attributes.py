# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from common.checkprotocol.attributes import Direction, Reference, join_service, shape_of, split_service
from common.checkprotocol.epoch import policy_epoch

SOURCE = {Reference("source.ip"), Reference("source.principal"), Reference("source.uid")}


@pytest.mark.parametrize(
    ("read", "direction", "expected"),
    [
        ([("request.headers", "user")], "inbound", {Reference("request.headers", "user")}),
        ([("request.method", None)], "inbound", {Reference("request.method")}),
        ([("context.reporter.kind", None)], "inbound", {Reference("context.reporter.kind")}),
        # made by Mixer out of what the filter knows
        ([("source.labels", "app")], "inbound", SOURCE),
        ([("source.workload.name", None)], "inbound", SOURCE),
        ([("source.namespace", None)], "inbound", SOURCE),
        ([("source.user", None)], "inbound", {Reference("source.principal")}),
        ([("request.query_params", "page")], "inbound", {Reference("request.path")}),
        ([("request.query_params", None)], "inbound", {Reference("request.path")}),
        ([("request.useragent", None)], "inbound", {Reference("request.headers", "user-agent")}),
        # the proxy's own side is the same for all its requests
        ([("destination.labels", "app")], "inbound", set()),
        ([("destination.namespace", None)], "inbound", set()),
        ([("source.labels", "app")], "outbound", set()),
        ([("source.principal", None)], "outbound", set()),
        # but one proxy serves several ports and services
        ([("destination.port", None)], "inbound", {Reference("destination.port")}),
        ([("destination.service.host", None)], "inbound", {Reference("destination.service.host")}),
        ([("destination.service.name", None)], "outbound", {Reference("destination.service.name")}),
        # never in a bag: absent for everybody
        ([("api.service", None)], "inbound", set()),
    ],
)
def test_references_are_reduced_to_what_the_filter_knows(
    read: list[tuple[str, str | None]], direction: Direction, expected: set[Reference]
) -> None:
    assert shape_of(read, direction) == tuple(sorted(expected))


@pytest.mark.parametrize("name", ["request.time", "context.time"])
def test_what_differs_with_every_request_is_not_kept(name: str) -> None:
    assert shape_of([("request.method", None), (name, None)], "inbound") is None


def test_all_headers_at_once_are_no_key() -> None:
    assert shape_of([("request.headers", None)], "inbound") is None


def test_equal_reads_in_any_order_give_one_shape() -> None:
    reads: list[tuple[str, str | None]] = [
        ("request.headers", "b"),
        ("request.headers", "a"),
        ("request.method", None),
        ("request.method", None),
    ]
    assert shape_of(reads, "inbound") == shape_of(reversed(reads), "inbound")


@pytest.mark.parametrize("service", [("a.b.svc.cluster.local", "a", "b"), ("example.com", "example.com", ""), ("", "", "")])
def test_a_service_is_one_string(service: tuple[str, str, str]) -> None:
    assert split_service(join_service(*service)) == service


def test_the_epoch_names_a_set() -> None:
    rules = [("rules", "default/a", "1"), ("handlers", "default/h", "2")]
    assert policy_epoch(rules) == policy_epoch(reversed(rules))
    others = [
        rules[:1],
        [("rules", "default/a", "3"), rules[1]],
        [("rules", "default/ab", "1"), rules[1]],
        [("rules", "defaul", "t/a1"), rules[1]],
        [],
    ]
    assert len({policy_epoch(rules), *map(policy_epoch, others)}) == len(others) + 1
