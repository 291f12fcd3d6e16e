# SPDX-License-Identifier: Apache-2.0
"""What happens to a routed request beyond its destination: retries, timeouts, faults, CORS, hashing."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Final

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.v3 import percent_pb2

from common.config.kinds.networking import Abort, CorsPolicy, Delay, HTTPFaultInjection, HTTPRetry, LoadBalancerSettings
from pilot.networking.route_headers import is_header_name
from pilot.networking.wire import bounded, optional_seconds, pack, set_seconds

RetryPolicy = route_components_pb2.RetryPolicy
RouteAction = route_components_pb2.RouteAction

FAULT: Final = "envoy.filters.http.fault"
CORS: Final = "envoy.filters.http.cors"
_STATUS_CODES: Final = frozenset(int(status) for status in HTTPStatus)
_STATUS_CONDITION: Final = "retriable-status-codes"
_DEFAULT_RETRY_ON: Final = f"connect-failure,refused-stream,unavailable,cancelled,resource-exhausted,{_STATUS_CONDITION}"


@cache
def default_retry_policy() -> RetryPolicy:
    """Istio 1.4's: two retries, on another host, of what was surely not served. Do not change the returned message."""
    policy = RetryPolicy(retry_on=_DEFAULT_RETRY_ON, retriable_status_codes=[503], host_selection_retry_max_attempts=5)
    policy.num_retries.value = 2
    predicate = policy.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
    pack(previous_hosts_pb2.PreviousHostsPredicate(), predicate.typed_config)
    return policy


def set_retries(action: RouteAction, retries: HTTPRetry | None) -> None:
    """None is the mesh's default; `attempts: 0` is no retry at all. Numbers in `retryOn` are status codes."""
    if retries is None:
        action.retry_policy.CopyFrom(default_retry_policy())
        return
    if retries.attempts <= 0:
        return
    policy = action.retry_policy
    policy.CopyFrom(default_retry_policy())
    policy.num_retries.value = bounded(retries.attempts)
    if (per_try := optional_seconds(retries.perTryTimeout)) is not None:
        set_seconds(policy.per_try_timeout, per_try)
    if retries.retryOn:
        _set_conditions(policy, retries.retryOn)


def _set_conditions(policy: RetryPolicy, text: str) -> None:
    """Status codes need the condition that makes Envoy look at them; Istio 1.4 left that to the user."""
    conditions = [condition.strip() for condition in text.split(",")]
    names = [condition for condition in conditions if condition and not condition.isdecimal()]
    codes = [int(condition) for condition in conditions if condition.isdecimal() and int(condition) in _STATUS_CODES]
    if codes:
        del policy.retriable_status_codes[:]
        policy.retriable_status_codes.extend(codes)
        if _STATUS_CONDITION not in names:
            names.append(_STATUS_CONDITION)
    policy.retry_on = ",".join(names)


def set_timeout(action: RouteAction, timeout: str | None) -> None:
    """Absent means none: Envoy's own 15 s would surprise. A gRPC client's own deadline is bounded by the same value.

    `max_grpc_timeout` is deprecated, but its successor is no substitute: with `max_stream_duration` Envoy 1.40 no longer looks at `timeout`.
    """
    seconds = optional_seconds(timeout) or 0.0
    set_seconds(action.timeout, seconds)
    set_seconds(action.max_grpc_timeout, seconds)


def add_hash_policy(action: RouteAction, settings: LoadBalancerSettings | None) -> None:
    """What a consistent-hash balancer hashes. Envoy hashes on the route, Istio configures it on the destination."""
    hashing = settings.consistentHash if settings is not None else None
    if hashing is None:
        return
    if hashing.httpHeaderName and not is_header_name(hashing.httpHeaderName):
        return
    policy = action.hash_policy.add()
    if hashing.httpHeaderName:
        policy.header.header_name = hashing.httpHeaderName
    elif hashing.httpCookie is not None and hashing.httpCookie.name:
        policy.cookie.name = hashing.httpCookie.name
        policy.cookie.path = hashing.httpCookie.path
        if (ttl := optional_seconds(hashing.httpCookie.ttl)) is not None:
            set_seconds(policy.cookie.ttl, ttl)
    else:
        policy.connection_properties.source_ip = True


def _percent(target: percent_pb2.FractionalPercent, fault: Delay | Abort) -> None:
    """Without `percentage` the older whole number counts; without both, Istio 1.4 injects nothing."""
    share = fault.percentage.value if fault.percentage is not None else float(fault.percent)
    target.numerator = round(min(max(share, 0.0), 100.0) * 10_000)
    target.denominator = percent_pb2.FractionalPercent.MILLION


def set_fault(route: route_components_pb2.Route, injection: HTTPFaultInjection | None) -> None:
    """A delay of nothing and statuses outside 200..599 are what Envoy refuses; they inject nothing."""
    if injection is None:
        return
    fault = fault_pb2.HTTPFault()
    if injection.delay is not None and (seconds := optional_seconds(injection.delay.fixedDelay)):
        set_seconds(fault.delay.fixed_delay, seconds)
        _percent(fault.delay.percentage, injection.delay)
    if injection.abort is not None and injection.abort.httpStatus is not None and 200 <= injection.abort.httpStatus < 600:
        fault.abort.http_status = injection.abort.httpStatus
        _percent(fault.abort.percentage, injection.abort)
    if fault.HasField("delay") or fault.HasField("abort"):
        pack(fault, route.typed_per_filter_config[FAULT])


def set_cors(route: route_components_pb2.Route, policy: CorsPolicy | None) -> None:
    if policy is None:
        return
    cors = cors_pb2.CorsPolicy()
    for origin in policy.allowOrigin:
        cors.allow_origin_string_match.add().exact = origin
    cors.allow_methods = ",".join(policy.allowMethods)
    cors.allow_headers = ",".join(policy.allowHeaders)
    cors.expose_headers = ",".join(policy.exposeHeaders)
    if (age := optional_seconds(policy.maxAge)) is not None:
        cors.max_age = str(round(age))
    if policy.allowCredentials is not None:
        cors.allow_credentials.value = policy.allowCredentials
    cors.filter_enabled.default_value.numerator = 100
    pack(cors, route.typed_per_filter_config[CORS])
