# SPDX-License-Identifier: Apache-2.0
"""What HTTPAPISpec and HTTPAPISpecBinding must keep to, over their schemas.

Istio 1.4 looked at the attributes of the whole where it meant those of a pattern, and so refused patterns beside no attributes; we do not.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator

from common.config.kinds.api_spec import Attributes, AttributeValue, HTTPAPISpec, HTTPAPISpecBinding
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import as_number, dns_label, duration, each
from galley.validation.quota import istio_service


def http_api_spec(spec: HTTPAPISpec, at: Path) -> Iterator[Problem]:
    if spec.attributes is not None:
        yield from _attributes(spec.attributes, (*at, "attributes"))
    if not spec.patterns:
        yield problem((*at, "patterns"), "at least one pattern is needed")
    for pattern, place in each(spec.patterns, (*at, "patterns")):
        if pattern.attributes is not None:
            yield from _attributes(pattern.attributes, (*place, "attributes"))
        if not pattern.httpMethod:
            yield problem(place, "httpMethod is missing: GET, POST, …")
        if not (pattern.uriTemplate or pattern.regex):
            yield problem(place, "a pattern needs uriTemplate or regex, and not an empty one")
    for key, place in each(spec.apiKeys, (*at, "apiKeys")):
        if not (key.query or key.header or key.cookie):
            yield problem(place, "an API key needs query, header or cookie: the name under which it is sent")


def _attributes(found: Attributes, at: Path) -> Iterator[Problem]:
    if not found.attributes:
        yield problem((*at, "attributes"), "at least one attribute is needed")
    for name, value in found.attributes.items():
        yield from _value(value, (*at, "attributes", name))


def _value(value: AttributeValue, at: Path) -> Iterator[Problem]:
    if value.stringValue == "" or value.bytesValue == "":
        yield problem(at, "an attribute may not be empty")
    elif all(getattr(value, field) is None for field in value.__struct_fields__):
        yield problem(at, "an attribute needs a value: stringValue, int64Value, …")
    if isinstance(value.int64Value, str) and as_number(value.int64Value.removeprefix("-")) is None:
        yield problem((*at, "int64Value"), f"{value.int64Value!r} is not a whole number", found=value.int64Value)
    if value.bytesValue:
        yield from _base64(value.bytesValue, (*at, "bytesValue"))
    if value.timestampValue is not None:
        yield from _timestamp(value.timestampValue, (*at, "timestampValue"))
    yield from duration(value.durationValue, (*at, "durationValue"))
    if value.stringMapValue is not None and not value.stringMapValue.entries:
        yield problem((*at, "stringMapValue"), "a string map needs entries")


def _base64(text: str, at: Path) -> Iterator[Problem]:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        yield problem(at, f"{text!r} is not base64", found=text)


def _timestamp(text: str, at: Path) -> Iterator[Problem]:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        yield problem(at, f"{text!r} is not a time; write 2006-01-02T15:04:05Z", found=text)


def http_api_spec_binding(spec: HTTPAPISpecBinding, at: Path) -> Iterator[Problem]:
    if not spec.services:
        yield problem((*at, "services"), "at least one service is needed; service: '*' means all")
    for service, place in each(spec.services, (*at, "services")):
        yield from istio_service(service, place)
    if not spec.apiSpecs:
        yield problem((*at, "apiSpecs"), "at least one HTTPAPISpec is needed")
    for reference, place in each(spec.apiSpecs, (*at, "apiSpecs")):
        if not reference.name:
            yield problem(place, "name the HTTPAPISpec")
        if reference.namespace:
            yield from dns_label(reference.namespace, (*place, "namespace"))
