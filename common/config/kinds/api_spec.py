# SPDX-License-Identifier: Apache-2.0
"""HTTPAPISpec and its binding: attributes by operation of an HTTP API. Istio 1.4 still accepted both, and no proxy of it read them."""

from __future__ import annotations

from typing import ClassVar

from common.config.kinds.message import Duration, Message
from common.config.kinds.mixer import IstioService
from common.config.registry import Kind, registry


class AttributeStringMap(Message, frozen=True, kw_only=True):
    entries: dict[str, str] = {}


class AttributeValue(Message, frozen=True, kw_only=True):
    """`int64Value` may be written as a number or as a text, for values that JSON cannot hold exactly."""

    ONEOFS: ClassVar = (
        (
            "stringValue",
            "int64Value",
            "doubleValue",
            "boolValue",
            "bytesValue",
            "timestampValue",
            "durationValue",
            "stringMapValue",
        ),
    )

    stringValue: str | None = None
    int64Value: int | str | None = None
    doubleValue: float | None = None
    boolValue: bool | None = None
    bytesValue: str | None = None
    timestampValue: str | None = None
    durationValue: Duration | None = None
    stringMapValue: AttributeStringMap | None = None


class Attributes(Message, frozen=True, kw_only=True):
    attributes: dict[str, AttributeValue] = {}


class HTTPAPISpecPattern(Message, frozen=True, kw_only=True):
    """`uriTemplate` is RFC 6570, `regex` ECMAScript."""

    ONEOFS: ClassVar = (("uriTemplate", "regex"),)

    attributes: Attributes | None = None
    httpMethod: str = ""
    uriTemplate: str | None = None
    regex: str | None = None


class APIKey(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("query", "header", "cookie"),)

    query: str | None = None
    header: str | None = None
    cookie: str | None = None


class HTTPAPISpec(Message, frozen=True, kw_only=True):
    attributes: Attributes | None = None
    patterns: tuple[HTTPAPISpecPattern, ...] = ()
    apiKeys: tuple[APIKey, ...] = ()


class HTTPAPISpecReference(Message, frozen=True, kw_only=True):
    """`namespace` defaults to that of the binding."""

    name: str = ""
    namespace: str = ""


class HTTPAPISpecBinding(Message, frozen=True, kw_only=True):
    services: tuple[IstioService, ...] = ()
    apiSpecs: tuple[HTTPAPISpecReference, ...] = ()


def _kind(name: str, plural: str, spec: type[Message]) -> Kind:
    collection = f"istio/config/v1alpha2/{plural}"
    return registry.add(Kind(group="config.istio.io", version="v1alpha2", name=name, plural=plural, collection=collection, spec=spec))


HTTP_API_SPEC = _kind("HTTPAPISpec", "httpapispecs", HTTPAPISpec)
HTTP_API_SPEC_BINDING = _kind("HTTPAPISpecBinding", "httpapispecbindings", HTTPAPISpecBinding)
