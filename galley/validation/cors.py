# SPDX-License-Identifier: Apache-2.0
"""The rules of a CORS policy, without two accidents of Istio 1.4: a numeric port hid the other errors, and IPv4 origins were refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from common.config.duration import DurationError, seconds
from common.config.kinds.virtual_service import CorsPolicy
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import as_number, duration, each, fqdn, header_name, is_ip, port_number

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
_ORIGIN: Final = re.compile(r"(?:https?://)?(?P<host>[^:/]+)(?::(?P<port>[^/]*))?\Z")


def cors_policy(policy: CorsPolicy, at: Path) -> Iterator[Problem]:
    for origin, place in each(policy.allowOrigin, (*at, "allowOrigin")):
        yield from _origin(origin, place)
    for method, place in each(policy.allowMethods, (*at, "allowMethods")):
        if method not in _METHODS:
            yield problem(place, f"{method!r} is not an HTTP method; use {', '.join(_METHODS)}", found=method)
    for field in ("allowHeaders", "exposeHeaders"):
        for name, place in each(getattr(policy, field), (*at, field)):
            yield from header_name(name, place)
    yield from duration(policy.maxAge, (*at, "maxAge"))
    if policy.maxAge is not None and _has_fraction(policy.maxAge):
        yield problem((*at, "maxAge"), f"maxAge {policy.maxAge} must be whole seconds", found=policy.maxAge)


def _has_fraction(text: str) -> bool:
    try:
        return not seconds(text).is_integer()
    except DurationError:
        return False  # reported already


def _origin(origin: str, at: Path) -> Iterator[Problem]:
    if origin == "*":
        return
    parts = _ORIGIN.match(origin)
    if parts is None:
        yield problem(at, f"{origin!r} is not an origin; write '*' or [http[s]://]host[:port]", found=origin)
        return
    if not is_ip(parts["host"]):
        yield from fqdn(parts["host"], at)
    if parts["port"] is not None:
        yield from port_number(as_number(parts["port"]) or 0, at)
