# SPDX-License-Identifier: Apache-2.0
"""When a route applies: the conditions of a VirtualService's match, as Envoy's matchers.

Port, gateways and source labels are not Envoy's business: they are decided while generating, because they are constant per group.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import re2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2

from common.config.kinds.networking import HTTPMatchRequest, StringMatch
from pilot.model.labels import LabelSet, label_set
from pilot.model.virtual_services import RoutingRule
from pilot.networking.route_headers import is_header_name

MAX_REGEX = 1024
"""Characters. Longer programs are Envoy's memory, not ours to spend."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where routes are generated for: which port, as which gateways, and for sidecars which `sourceLabels` conditions hold."""

    port: int
    gateways: frozenset[str]
    met: Collection[LabelSet] = ()

    def admits(self, rule: RoutingRule, *, port: int, gateways: tuple[str, ...], source_labels: dict[str, str]) -> bool:
        """HTTP's rule: a match that names gateways is decided by them alone, its source labels are ignored (Istio 1.4)."""
        if port and port != self.port:
            return False
        if gateways:
            return not self.gateways.isdisjoint(rule.applies_to_gateways(gateways))
        return self.has_labels(source_labels)

    def has_labels(self, source_labels: dict[str, str]) -> bool:
        return not source_labels or label_set(source_labels) in self.met


class UnusableMatchError(ValueError):
    """A condition that Envoy would refuse; the route that has it is left out."""


@lru_cache(maxsize=4096)
def is_valid_regex(pattern: str) -> bool:
    """Whether Envoy would compile it: RE2's opinion, not Python's."""
    if not 0 < len(pattern) <= MAX_REGEX:
        return False
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True


def set_string(matcher: string_pb2.StringMatcher, match: StringMatch) -> None:
    """One of exact, prefix, regex. The empty match is the caller's case (presence)."""
    if match.exact is not None:
        matcher.exact = match.exact
    elif match.prefix:
        matcher.prefix = match.prefix
    elif match.regex is not None:
        matcher.safe_regex.regex = checked_regex(match.regex)
    else:
        matcher.safe_regex.regex = ".*"


def checked_regex(pattern: str) -> str:
    """`*` alone means everything in Istio 1.4, and nothing in RE2."""
    if pattern == "*":
        return ".*"
    if not is_valid_regex(pattern):
        raise UnusableMatchError(f"{pattern!r} is not an RE2 expression of 1 to {MAX_REGEX} characters")
    return pattern


def _is_presence(match: StringMatch) -> bool:
    return match.exact is None and match.prefix is None and match.regex is None


def set_match(target: route_components_pb2.RouteMatch, match: HTTPMatchRequest | None) -> None:
    """Fill a route's match; None is the match of everything. Raises UnusableMatchError."""
    if match is None:
        target.prefix = "/"
        return
    _set_path(target, match.uri)
    target.case_sensitive.value = not match.ignoreUriCase
    for name in sorted(match.headers):
        _add_header(target, name, match.headers[name])
    for name, value in ((":scheme", match.scheme), (":method", match.method), (":authority", match.authority)):
        if value is not None:
            _add_header(target, name, value)
    for name in sorted(match.queryParams):
        if not name:
            raise UnusableMatchError("a query parameter without a name")
        parameter = target.query_parameters.add(name=name)
        if _is_presence(match.queryParams[name]):
            parameter.present_match = True
        else:
            set_string(parameter.string_match, match.queryParams[name])


def _set_path(target: route_components_pb2.RouteMatch, uri: StringMatch | None) -> None:
    if uri is None or _is_presence(uri):
        target.prefix = "/"
    elif uri.exact is not None:
        target.path = uri.exact
    elif uri.prefix is not None:
        target.prefix = uri.prefix
    elif uri.regex is not None:
        if uri.regex == "*":
            target.prefix = "/"
        else:
            target.safe_regex.regex = checked_regex(uri.regex)


def _add_header(target: route_components_pb2.RouteMatch, name: str, match: StringMatch) -> None:
    if not is_header_name(name.removeprefix(":")):
        raise UnusableMatchError(f"{name!r} is not the name of a header")
    header = target.headers.add(name=name)
    if _is_presence(match):
        header.present_match = True
    else:
        set_string(header.string_match, match)


def is_catch_all(match: route_components_pb2.RouteMatch) -> bool:
    """Nothing after such a route can be reached."""
    everything = match.prefix == "/" or match.safe_regex.regex == ".*"
    return everything and not match.headers and not match.query_parameters


def operation_path(match: route_components_pb2.RouteMatch) -> str:
    """The path part of a span's name."""
    if match.WhichOneof("path_specifier") == "path":
        return match.path
    if match.WhichOneof("path_specifier") == "safe_regex":
        return match.safe_regex.regex
    return f"{match.prefix}*"
