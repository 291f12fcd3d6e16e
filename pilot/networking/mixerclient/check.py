# SPDX-License-Identifier: Apache-2.0
"""Check in Envoy: one Lua filter whose text never changes, and the route data that it reads.

The text is constant because a listener update would empty every worker's cache and leave open connections on the old text. So the
filter stands in the chain whether or not anything is checked, and routes switch it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, Literal

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2

from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script
from pilot.networking.mixerclient.service import MeshService
from pilot.networking.wire import packed

FILTER_NAME: Final = "istio.mixer"
"""Also the dynamic metadata namespace in which the filter leaves its verdict for the Report."""

Direction = Literal["inbound", "outbound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StringMatch:
    """One clause of a QuotaSpec match: `attribute` (with `key`, one entry of a string map) compared in one of the three ways."""

    attribute: str
    key: str = ""
    kind: Literal["exact", "prefix", "regex"]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRule:
    """One quota of a QuotaSpec rule. It applies when every clause of one of `matches` holds; without matches, always."""

    quota: str
    """Name of the quota's instance, as the spec writes it."""
    charge: int = 1
    matches: tuple[tuple[StringMatch, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCheck:
    """What one route tells the filter."""

    services: tuple[MeshService, ...]
    """The services that this route serves. The first is meant unless a mesh client names another one."""
    direction: Direction = "inbound"
    """`outbound` for gateways: the reporter is then the source, as in Istio 1.4."""
    check: bool = True
    """False (MeshConfig.disablePolicyChecks): ask nothing; the service is still noted for the Report."""
    fail_open: bool = False
    """MeshConfig.policyCheckFailOpen: what happens when Mixer cannot be asked and no cached answer holds."""
    epoch: str = ""
    """Changes whenever policy configuration changes (`common.checkprotocol.epoch`), so that no answer outlives the rules that it came from."""
    quotas: tuple[QuotaRule, ...] = ()
    timeout: float = 5.0
    """Seconds for one question to Mixer."""


@cache
def http_filters(*, holds_script: bool) -> tuple[hcm_pb2.HttpFilter, ...]:
    """The filter, with its text (23 kB) or, for a proxy that holds it, with a reference to it. Do not change the returned messages."""
    held, sent = base_pb2.DataSource(environment_variable=CHECK_SCRIPT_VARIABLE), base_pb2.DataSource(inline_string=check_script())
    lua = lua_pb2.Lua(
        default_source_code=held if holds_script else sent,
        stat_prefix="mixer",
        # The filter clears the route cache itself, and only when a header operation of Mixer's touched the request.
        clear_route_cache=wrappers_pb2.BoolValue(value=False),
    )
    return (hcm_pb2.HttpFilter(name=FILTER_NAME, typed_config=packed(lua)),)


def per_route(check: RouteCheck) -> dict[str, any_pb2.Any]:
    """`typed_per_filter_config` of a route, virtual host or route configuration (the most specific one wins as a whole).

    The filter parses a context once per worker and knows it again by `id`, so equal contexts have equal ids. Do not change the message.
    """
    return {FILTER_NAME: _per_route(check)}


@lru_cache(maxsize=4096)
def _per_route(check: RouteCheck) -> any_pb2.Any:
    """Remembered, because a change of the mesh's settings makes the routes of every workload anew, mostly with the same data."""
    context: dict[str, Any] = {
        "check": check.check,
        "direction": check.direction,
        "services": [{"host": s.host, "name": s.name, "namespace": s.namespace, "uid": s.uid} for s in check.services],
    }
    if check.check:
        context |= {"failOpen": check.fail_open, "epoch": check.epoch, "timeout": round(check.timeout * 1000)}
        context["quotas"] = [_quota(rule) for rule in check.quotas]
    settings = struct_pb2.Struct()
    settings.update(context)
    identity = hashlib.blake2s(settings.SerializeToString(deterministic=True), digest_size=12).hexdigest()
    settings.fields["id"].string_value = identity
    return packed(lua_pb2.LuaPerRoute(filter_context=settings))


def _quota(rule: QuotaRule) -> dict[str, object]:
    matches = [[{"attribute": c.attribute, "key": c.key, "kind": c.kind, "value": c.value} for c in clauses] for clauses in rule.matches]
    return {"name": rule.quota, "charge": rule.charge, "matches": matches}
