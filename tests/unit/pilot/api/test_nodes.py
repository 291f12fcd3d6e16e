# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node

from common.identity.spiffe import SpiffeId
from pilot.api.nodes import check_identity, check_labels, describe
from pilot.errors import Forbidden, Malformed, Unauthenticated


def node(id: str = "sidecar~10.0.0.1~web-1.default~default.svc.cluster.local", **metadata: Any) -> Node:
    made = Node(id=id)
    made.metadata.update({"NAMESPACE": "default", "SERVICE_ACCOUNT": "web", **metadata})
    return made


def test_a_node_is_read() -> None:
    made = node(LABELS={"app": "web"}, INTERCEPTION_MODE="NONE")
    made.locality.region, made.locality.zone = "eu", "eu-1"
    found = describe(made)
    assert (found.proxy_id, found.locality, found.metadata.LABELS, found.id.ip) == ("web-1.default", "eu/eu-1", {"app": "web"}, "10.0.0.1")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "must carry a node"),
        (Node(), "must carry a node"),
        (node(id="web"), "type~ip~name.namespace~domain"),
        (node(NAMESPACE="other"), "namespace 'other'"),
        (node(SERVICE_ACCOUNT=7), "SERVICE_ACCOUNT"),
        (node(LABELS="app"), "LABELS"),
    ],
)
def test_what_cannot_be_a_node_says_why(made: Node | None, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        describe(made)


def test_a_proxy_may_only_be_what_its_certificate_says() -> None:
    found = describe(node())
    check_identity(found, SpiffeId("cluster.local", "default", "web"), trust_domain="cluster.local")
    for peer in (
        SpiffeId("cluster.local", "default", "other"),
        SpiffeId("cluster.local", "other", "web"),
        SpiffeId("elsewhere", "default", "web"),
    ):
        with pytest.raises(Forbidden, match="its certificate is that of"):
            check_identity(found, peer, trust_domain="cluster.local")
    with pytest.raises(Unauthenticated):
        check_identity(found, None, trust_domain="cluster.local")


def test_a_proxy_has_the_labels_that_its_token_allowed() -> None:
    found = describe(node(LABELS={"app": "web", "version": "v1"}))
    for bounds in ({}, {"app": "web"}):
        check_labels(found, bounds)
    for bounds in ({"app": "bank"}, {"app": "web", "istio": "ingressgateway"}):
        with pytest.raises(Forbidden, match="bounds its labels"):
            check_labels(found, bounds)
