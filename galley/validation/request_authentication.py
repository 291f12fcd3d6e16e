# SPDX-License-Identifier: Apache-2.0
"""What a RequestAuthentication must keep to, over its schema."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds.request_authentication import JWTRule, RequestAuthentication
from common.config.problem import Path, Problem, problem
from galley.validation.authentication import jwks, jwks_uri
from galley.validation.authorization import selector
from galley.validation.primitives import duration, each, header_name


def request_authentication(spec: RequestAuthentication, at: Path) -> Iterator[Problem]:
    yield from selector(spec.selector, (*at, "selector"))
    for rule, place in each(spec.jwtRules, (*at, "jwtRules")):
        yield from _rule(rule, place)


def _rule(rule: JWTRule, at: Path) -> Iterator[Problem]:
    if not rule.issuer:
        yield problem(at, "issuer is missing: the 'iss' of the tokens to accept")
    if rule.jwksUri and rule.jwks:
        yield problem((*at, "jwks"), "jwksUri and jwks exclude one another; keep one")
    if rule.jwksUri:
        yield from jwks_uri(rule.jwksUri, (*at, "jwksUri"))
    if rule.jwks:
        yield from jwks(rule.jwks, (*at, "jwks"))
    for field in ("audiences", "fromParams", "fromCookies"):
        for value, place in each(getattr(rule, field), (*at, field)):
            if not value:
                yield problem(place, "an empty entry matches nothing; remove it")
    for header, place in each(rule.fromHeaders, (*at, "fromHeaders")):
        yield from header_name(header.name, (*place, "name"))
    if rule.outputPayloadToHeader:
        yield from header_name(rule.outputPayloadToHeader, (*at, "outputPayloadToHeader"))
    for output, place in each(rule.outputClaimToHeaders, (*at, "outputClaimToHeaders")):
        yield from header_name(output.header, (*place, "header"))
        if not output.claim:
            yield problem(place, "name the claim that the header shall carry")
    yield from duration(rule.timeout, (*at, "timeout"))
