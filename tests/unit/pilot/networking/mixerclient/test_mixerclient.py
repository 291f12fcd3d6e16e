# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace

import pytest
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from google.protobuf import json_format

from common.checkprotocol.attributes import FILTER_ATTRIBUTES, Tag
from common.checkprotocol.report import LOG_NAME_PREFIX
from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script
from pilot.networking.mixerclient import (
    FILTER_NAME,
    MeshService,
    QuotaRule,
    RouteCheck,
    StringMatch,
    forwarded_service,
    http_access_logs,
    http_filters,
    per_route,
    tcp_access_logs,
)
from pilot.networking.mixerclient.check import Direction

RATINGS = MeshService(host="ratings.default.svc.cluster.local", name="ratings", namespace="default")
STARS = MeshService(host="stars.default.svc.cluster.local", name="stars", namespace="default")
CHECK = RouteCheck(services=(RATINGS,), epoch="7")


def context(check: RouteCheck) -> dict[str, object]:
    route = lua_pb2.LuaPerRoute()
    assert per_route(check)[FILTER_NAME].Unpack(route)
    return json_format.MessageToDict(route.filter_context)


def lua(*, holds_script: bool) -> lua_pb2.Lua:
    (found,) = http_filters(holds_script=holds_script)
    assert found.name == FILTER_NAME
    message = lua_pb2.Lua()
    assert found.typed_config.Unpack(message)
    return message


def test_the_filter_is_one_constant_with_its_text_or_a_reference_to_it() -> None:
    assert http_filters(holds_script=False) is http_filters(holds_script=False)
    carried, held = lua(holds_script=False), lua(holds_script=True)
    assert carried.default_source_code.inline_string == check_script()
    assert held.default_source_code.environment_variable == CHECK_SCRIPT_VARIABLE
    for message in (carried, held):
        message.ClearField("default_source_code")
    assert carried == held and carried.stat_prefix == "mixer"


def test_both_sides_know_the_same_attributes() -> None:
    listed = {name: tag for tag, name in re.findall(r'^ *\{ "([A-Z])", "([a-z_.]+)",', check_script(), re.MULTILINE)}
    assert listed | {"request.headers": "M"} == {name: str(tag) for name, tag in FILTER_ATTRIBUTES.items()}
    assert FILTER_ATTRIBUTES["request.headers"] is Tag.ENTRY


def test_a_context_says_what_the_route_needs() -> None:
    match = StringMatch(attribute="request.headers", key="user", kind="exact", value="jason")
    said = context(replace(CHECK, fail_open=True, timeout=0.5, quotas=(QuotaRule(quota="requests", charge=2, matches=((match,),)),)))
    assert said.pop("id")
    assert said == {
        "check": True,
        "direction": "inbound",
        "services": [{"host": RATINGS.host, "name": "ratings", "namespace": "default", "uid": "istio://default/services/ratings"}],
        "failOpen": True,
        "epoch": "7",
        "timeout": 500.0,
        "quotas": [
            {
                "name": "requests",
                "charge": 2.0,
                "matches": [[{"attribute": "request.headers", "key": "user", "kind": "exact", "value": "jason"}]],
            }
        ],
    }


def test_an_unchecked_route_only_names_its_services() -> None:
    assert set(context(replace(CHECK, check=False))) == {"id", "check", "direction", "services"}


@pytest.mark.parametrize(
    "other",
    [
        replace(CHECK, epoch="8"),
        replace(CHECK, fail_open=True),
        replace(CHECK, check=False),
        replace(CHECK, timeout=1.0),
        replace(CHECK, direction="outbound"),
        replace(CHECK, services=(RATINGS, STARS)),
        replace(CHECK, services=(STARS, RATINGS)),
        replace(CHECK, quotas=(QuotaRule(quota="requests"),)),
    ],
)
def test_the_id_of_a_context_tells_contexts_apart(other: RouteCheck) -> None:
    assert context(other)["id"] != context(CHECK)["id"]
    assert per_route(other)[FILTER_NAME].value == per_route(replace(other))[FILTER_NAME].value


def test_the_forwarded_service_overwrites_and_names_no_proxy() -> None:
    header = forwarded_service(RATINGS)
    assert header.header.value == "ratings.default.svc.cluster.local;%ENVIRONMENT(FOURMAST_PROXY_UID)%"
    assert header.append_action == header.OVERWRITE_IF_EXISTS_OR_ADD


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_the_access_log_names_its_direction(direction: Direction) -> None:
    http, tcp = als_pb2.HttpGrpcAccessLogConfig(), als_pb2.TcpGrpcAccessLogConfig()
    assert http_access_logs(direction, ("x-user",))[0].typed_config.Unpack(http)
    assert tcp_access_logs(direction)[0].typed_config.Unpack(tcp)
    assert http.common_config.log_name == tcp.common_config.log_name == LOG_NAME_PREFIX + direction
    assert {"x-user", "content-type"} <= set(http.additional_request_headers_to_log)
    assert http.common_config.grpc_service.envoy_grpc.cluster_name == "mixer-report"
