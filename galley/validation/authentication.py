# SPDX-License-Identifier: Apache-2.0
"""What authentication policies must keep to, over their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from common.config.kinds.authentication import Jwt, PeerAuthentication, Policy, TriggerStringMatch
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import as_number, dns_label, each, labels, port_number, regex, unique


def policy(spec: Policy, at: Path, *, name: str, is_mesh_policy: bool) -> Iterator[Problem]:
    if is_mesh_policy:
        if name != "default":
            yield problem(("metadata", "name"), f"a MeshPolicy must be named 'default', not {name!r}", expected="default", found=name)
        if spec.targets:
            yield problem((*at, "targets"), "a MeshPolicy is for the whole mesh; use a Policy for single services")
    elif spec.targets and name == "default":
        yield problem(("metadata", "name"), "a Policy named 'default' is for its whole namespace: rename it, or remove targets", found=name)
    elif not spec.targets and name != "default":
        yield problem(
            ("metadata", "name"), f"a Policy without targets must be named 'default', not {name!r}", expected="default", found=name
        )
    for target, place in each(spec.targets, (*at, "targets")):
        yield from dns_label(target.name, (*place, "name"))
        for port, where in each(target.ports, (*place, "ports")):
            if port.number is not None:
                yield from port_number(port.number, (*where, "number"))
            elif port.name is not None:
                yield from dns_label(port.name, (*where, "name"))
            else:
                yield problem(where, "a port needs its number or its name")
    yield from _methods(spec, at)


def _methods(spec: Policy, at: Path) -> Iterator[Problem]:
    for peer, place in each(spec.peers, (*at, "peers")):
        if peer.mtls is None and peer.jwt is None:
            yield problem(place, "a peer method needs mtls or jwt; 'mtls: {}' asks for mutual TLS")
    for origin, place in each(spec.origins, (*at, "origins")):
        if origin.jwt is None:
            yield problem(place, "an origin method needs jwt")
    peers = ((peer.jwt, place) for peer, place in each(spec.peers, (*at, "peers")))
    origins = ((origin.jwt, place) for origin, place in each(spec.origins, (*at, "origins")))
    tokens: list[tuple[Jwt, Path]] = [(jwt, (*place, "jwt")) for jwt, place in chain(peers, origins) if jwt is not None]
    for jwt, place in tokens:
        yield from _jwt(jwt, place)
    yield from unique(((jwt.issuer, (*place, "issuer")) for jwt, place in tokens if jwt.issuer), "issuer")


def _jwt(jwt: Jwt, at: Path) -> Iterator[Problem]:
    if not jwt.issuer:
        yield problem((*at, "issuer"), "issuer is missing: the 'iss' of the tokens to accept")
    for field in ("audiences", "jwtHeaders", "jwtParams"):
        for value, place in each(getattr(jwt, field), (*at, field)):
            if not value:
                yield problem(place, "an empty entry matches nothing; remove it")
    if jwt.jwksUri:
        yield from jwks_uri(jwt.jwksUri, (*at, "jwksUri"))
    if jwt.jwks:
        yield from jwks(jwt.jwks, (*at, "jwks"))
    for rule, place in each(jwt.triggerRules, (*at, "triggerRules")):
        for field in ("excludedPaths", "includedPaths"):
            for match, where in each(getattr(rule, field), (*place, field)):
                yield from _path_match(match, where)


def _path_match(match: TriggerStringMatch, at: Path) -> Iterator[Problem]:
    if match.regex is not None:
        yield from regex(match.regex, (*at, "regex"))
    elif not (match.exact or match.prefix or match.suffix):
        yield problem(at, "a path match needs one of exact, prefix, suffix, regex, and not an empty one")


def jwks_uri(uri: str, at: Path) -> Iterator[Problem]:
    try:
        parts = urlsplit(uri)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        yield problem(at, f"{uri!r} is not an http or https URL", found=uri)


def jwks(text: str, at: Path) -> Iterator[Problem]:
    """Envoy refuses a whole listener over a key set that it cannot use."""
    try:
        keys: Any = json.loads(text)["keys"]
        usable = isinstance(keys, list) and any(isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP", "oct") for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError):
        yield problem(at, 'not a JSON Web Key Set; it looks like {"keys": [{"kty": "RSA", "n": …, "e": …}]}')
        return
    if not usable:
        yield problem(at, "the key set holds no usable key: at least one with kty RSA, EC, OKP or oct is needed")


def peer_authentication(spec: PeerAuthentication, at: Path) -> Iterator[Problem]:
    has_selector = spec.selector is not None and bool(spec.selector.matchLabels)
    if spec.selector is not None:
        yield from labels(spec.selector.matchLabels, (*at, "selector", "matchLabels"))
    if spec.portLevelMtls and not has_selector:
        yield problem((*at, "portLevelMtls"), "portLevelMtls needs a selector: ports are those of the selected workloads")
    for key in spec.portLevelMtls:
        if (number := as_number(key)) is not None:
            yield from port_number(number, (*at, "portLevelMtls", key))
        else:
            yield problem((*at, "portLevelMtls", key), f"{key!r} is not a port number", found=key)
