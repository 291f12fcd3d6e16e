# SPDX-License-Identifier: Apache-2.0
"""What an AuthorizationPolicy must keep to, over its schema. Envoy refuses a whole listener over one bad value, so each is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from common.config.kinds.authentication import LabelSelector
from common.config.kinds.authorization import AuthorizationPolicy, AuthorizationRule, Condition
from common.config.nearest import nearest
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import as_number, each, header_name, ip_block, labels

Check = Callable[[str, Path], Iterator[Problem]]

KEYS: Final = (
    *("request.headers[name]", "request.auth.claims[name]", "request.auth.principal", "request.auth.audiences", "request.auth.presenter"),
    *("source.ip", "remote.ip", "source.namespace", "source.principal", "source.user"),
    *("destination.ip", "destination.port", "connection.sni", "experimental.envoy.filters.name[key]"),
)
"""The attributes that a condition may speak of."""

_PLAIN: Final = frozenset(key for key in KEYS if not key.endswith("]"))
_BRACKETED: Final = re.compile(r"(request\.headers|request\.auth\.claims|experimental\.envoy\.filters\.[^\[\]]+)((?:\[[^\[\]]*\])+)\Z")
_OLD: Final = ("destination.labels", "destination.name", "destination.namespace", "destination.user")
"""Attributes that only the older ServiceRole knows."""


def authorization_policy(spec: AuthorizationPolicy, at: Path) -> Iterator[Problem]:
    yield from selector(spec.selector, (*at, "selector"))
    if spec.action == "DENY" and not spec.rules:
        yield problem((*at, "rules"), "a DENY policy without rules denies nothing; 'rules: [{}]' denies everything")
    for rule, place in each(spec.rules, (*at, "rules")):
        yield from _rule(rule, place)


def selector(found: LabelSelector | None, at: Path) -> Iterator[Problem]:
    """A label selector of a policy: an empty value selects nothing that anybody has."""
    if found is None:
        return
    for key, value in found.matchLabels.items():
        if not key or not value:
            yield problem((*at, "matchLabels", key), "a selector needs keys and values that are not empty")
    yield from labels({key: value for key, value in found.matchLabels.items() if key and value}, (*at, "matchLabels"))


def _rule(rule: AuthorizationRule, at: Path) -> Iterator[Problem]:
    for alternative, place in each(rule.from_, (*at, "from")):
        if alternative.source is None or not _is_set(alternative.source):
            yield problem(place, "an entry of 'from' needs a source with at least one field; leave 'from' out to mean anybody")
            continue
        source = (*place, "source")
        for field in ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"):
            yield from _all(getattr(alternative.source, field), (*source, field), ip_block)
        for field in ("principals", "notPrincipals", "requestPrincipals", "notRequestPrincipals", "namespaces", "notNamespaces"):
            yield from _all(getattr(alternative.source, field), (*source, field), _pattern)
    for permitted, place in each(rule.to, (*at, "to")):
        if permitted.operation is None or not _is_set(permitted.operation):
            yield problem(place, "an entry of 'to' needs an operation with at least one field; leave 'to' out to mean anything")
            continue
        operation = (*place, "operation")
        for field in ("ports", "notPorts"):
            yield from _all(getattr(permitted.operation, field), (*operation, field), _port)
        for field in ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"):
            yield from _all(getattr(permitted.operation, field), (*operation, field), _pattern)
    for condition, place in each(rule.when, (*at, "when")):
        yield from _condition(condition, place)


def _is_set(found: object) -> bool:
    return any(getattr(found, field) for field in getattr(found, "__struct_fields__", ()))


def _all(values: Sequence[str], at: Path, check: Check) -> Iterator[Problem]:
    for value, place in each(values, at):
        yield from check(value, place)


def _pattern(value: str, at: Path) -> Iterator[Problem]:
    """Exact, `prefix*`, `*suffix` or `*`. Envoy takes no empty ones."""
    if not value:
        yield problem(at, "an empty value matches nothing; remove it")
    elif value != "*" and not value.strip("*"):
        yield problem(at, f"{value!r} is not a pattern; '*' alone matches every value that is present", found=value)


def _port(value: str, at: Path) -> Iterator[Problem]:
    if (number := as_number(value)) is None or number > 65535:
        yield problem(at, f"{value!r} is not a port", expected="0 to 65535", found=value)


def _condition(condition: Condition, at: Path) -> Iterator[Problem]:
    if not condition.key:
        yield problem(at, "a condition needs a key: the attribute that it looks at")
    else:
        yield from _key(condition.key, (*at, "key"))
    if not condition.values and not condition.notValues:
        yield problem(at, "a condition needs values or notValues")
    check: Check = _pattern
    if condition.key in ("source.ip", "remote.ip", "destination.ip"):
        check = ip_block
    elif condition.key == "destination.port":
        check = _port
    for field in ("values", "notValues"):
        yield from _all(getattr(condition, field), (*at, field), check)


def _key(key: str, at: Path) -> Iterator[Problem]:
    if key in _PLAIN:
        return
    if key.startswith(_OLD):
        yield problem(at, f"{key} is only known to ServiceRole; select workloads with 'selector' instead", found=key)
    elif (bracketed := _BRACKETED.match(key)) is None:
        near = nearest(key.partition("[")[0], [known.partition("[")[0] for known in KEYS])
        hint = next((known for known in KEYS if known.partition("[")[0] == near), "")
        remedy = f"did you mean {hint!r}?" if hint else f"known are {', '.join(KEYS)}"
        yield problem(at, f"unknown attribute {key!r}; {remedy}", found=key)
    elif "[]" in bracketed[2]:
        yield problem(at, f"{key!r} names nothing between its brackets", found=key)
    elif bracketed[1] == "request.headers":
        yield from header_name(bracketed[2].strip("[]"), at)
