# SPDX-License-Identifier: Apache-2.0
"""Listeners that check either carry the filter's text or refer to it, and differ in nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2

from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script
from common.mesh.names import TYPE_CLUSTER, TYPE_LISTENER, TYPE_ROUTE
from pilot.model.proxy import Proxy
from pilot.networking.generator import plan
from pilot.networking.mixerclient import FILTER_NAME
from tests.generated_mesh import MANAGER, Mesh, manager_of, proxy

MESH = Mesh(
    """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 240.240.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 90}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
)
CHECKING = {
    "sidecar": (proxy(labels={"app": "a"}), 4),
    "sidecar without interception": (
        proxy(labels={"app": "a"}, address="127.10.0.5", interception="NONE", outboundBind="127.11.0.5", application="127.12.0.5"),
        4,
    ),
    "gateway": (proxy(type="router", labels={"app": "edge"}), 1),
}


def taken_apart(who: Proxy) -> tuple[dict[str, listener_pb2.Listener], list[lua_pb2.Lua]]:
    """The proxy's listeners without the text of their filters, and these filters."""
    listeners, found = MESH.ask(who).listeners, []
    for listener in listeners.values():
        for chain in listener.filter_chains:
            for item in chain.filters:
                if item.name != MANAGER:
                    continue
                manager = manager_of(chain)
                for http_filter in manager.http_filters:
                    if http_filter.name == FILTER_NAME:
                        lua = lua_pb2.Lua()
                        assert http_filter.typed_config.Unpack(lua)
                        found.append(lua_pb2.Lua.FromString(lua.SerializeToString()))
                        lua.ClearField("default_source_code")
                        http_filter.typed_config.Pack(lua)
                item.typed_config.Pack(manager)
    return listeners, found


@pytest.mark.parametrize("name", CHECKING)
def test_a_proxy_that_holds_the_text_is_only_referred_to_it(name: str) -> None:
    who, filters = CHECKING[name]
    (without, carrying), (with_it, referring) = taken_apart(who), taken_apart(replace(who, holds_script=True))
    assert without == with_it
    assert [lua.default_source_code.inline_string for lua in carrying] == [check_script()] * filters
    assert [lua.default_source_code.environment_variable for lua in referring] == [CHECK_SCRIPT_VARIABLE] * filters


@pytest.mark.parametrize("name", CHECKING)
def test_they_never_share_a_listener_that_checks_but_all_that_does_not_depend_on_it(name: str) -> None:
    who, _ = CHECKING[name]
    one, other = (set(plan(MESH.push, each, TYPE_LISTENER, None)) for each in (who, replace(who, holds_script=True)))
    assert {type(key.parts[0]).__name__ for key in one & other} == ({"OutboundListeners"} if who.type == "sidecar" else set())
    assert len(one - other) == len(other - one) == 1
    routes = frozenset({"80", "http.80", "inbound|80|http|a.default.svc.cluster.local"})
    for type_url, names in ((TYPE_CLUSTER, None), (TYPE_ROUTE, routes)):
        assert plan(MESH.push, who, type_url, names) == plan(MESH.push, replace(who, holds_script=True), type_url, names)
