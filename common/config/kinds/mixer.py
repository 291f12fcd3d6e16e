# SPDX-License-Identifier: Apache-2.0
"""Mixer's configuration: which attributes become which instances, handled by whom, under which condition."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from common.config.kinds.message import Duration, Message
from common.config.registry import Kind, registry

ValueType = Literal[
    "VALUE_TYPE_UNSPECIFIED",
    "STRING",
    "INT64",
    "DOUBLE",
    "BOOL",
    "TIMESTAMP",
    "IP_ADDRESS",
    "EMAIL_ADDRESS",
    "URI",
    "DNS_NAME",
    "DURATION",
    "STRING_MAP",
]


class Action(Message, frozen=True, kw_only=True):
    """Hands instances to a handler. `name` exposes the handler's output to the header operations of the same rule."""

    handler: str = ""
    instances: tuple[str, ...] = ()
    name: str = ""


class HeaderOperation(Message, frozen=True, kw_only=True):
    """`values` are expressions of type STRING."""

    name: str = ""
    values: tuple[str, ...] = ()
    operation: Literal["REPLACE", "REMOVE", "APPEND"] = "REPLACE"


class FractionalPercent(Message, frozen=True, kw_only=True):
    numerator: int = 0
    denominator: Literal["HUNDRED", "TEN_THOUSAND"] = "HUNDRED"


class RandomSampling(Message, frozen=True, kw_only=True):
    attributeExpression: str = ""
    percentSampled: FractionalPercent | None = None
    useIndependentRandomness: bool = False


class RateLimitSampling(Message, frozen=True, kw_only=True):
    samplingDuration: Duration | None = None
    maxUnsampledEntries: int = 0
    samplingRate: int = 0


class Sampling(Message, frozen=True, kw_only=True):
    """Accepted and, as in Istio 1.4, without effect."""

    random: RandomSampling | None = None
    rateLimit: RateLimitSampling | None = None


class Rule(Message, frozen=True, kw_only=True):
    """`match` is an expression of type BOOL; blank means always."""

    match: str = ""
    actions: tuple[Action, ...] = ()
    requestHeaderOperations: tuple[HeaderOperation, ...] = ()
    responseHeaderOperations: tuple[HeaderOperation, ...] = ()
    sampling: Sampling | None = None


class Connection(Message, frozen=True, kw_only=True):
    """Where an adapter that runs outside Mixer listens."""

    address: str = ""
    timeout: Duration | None = None
    authentication: dict[str, Any] = {}


class Handler(Message, frozen=True, kw_only=True):
    """A configured adapter. `params` have the shape that the adapter's own schema gives them."""

    ONEOFS: ClassVar = (("compiledAdapter", "adapter"),)

    name: str = ""
    compiledAdapter: str | None = None
    adapter: str | None = None
    params: dict[str, Any] = {}
    connection: Connection | None = None


class Instance(Message, frozen=True, kw_only=True):
    """A template filled from attributes: `params` hold expressions in the shape that the template gives them."""

    ONEOFS: ClassVar = (("compiledTemplate", "template"),)

    name: str = ""
    compiledTemplate: str | None = None
    template: str | None = None
    params: dict[str, Any] = {}
    attributeBindings: dict[str, str] = {}


class Adapter(Message, frozen=True, kw_only=True):
    """What Mixer can be connected to. `config` is Istio's base64 descriptor set; `schema` is the JSON Schema of a handler's `params`,
    by which Galley checks handlers of adapters that it has never linked."""

    name: str = ""
    description: str = ""
    templates: tuple[str, ...] = ()
    config: str = ""
    sessionBased: bool = False
    schema: dict[str, Any] = {}


class Template(Message, frozen=True, kw_only=True):
    """The shape of instances. `descriptor` is Istio's base64 descriptor set; `schema` is the JSON Schema of an instance's `params`."""

    name: str = ""
    variety: Literal["", "CHECK", "REPORT", "QUOTA", "ATTRIBUTE_GENERATOR", "CHECK_WITH_OUTPUT"] = ""
    descriptor: str = ""
    schema: dict[str, Any] = {}


class AttributeInfo(Message, frozen=True, kw_only=True):
    description: str = ""
    valueType: ValueType = "VALUE_TYPE_UNSPECIFIED"


class AttributeManifest(Message, frozen=True, kw_only=True):
    """Attributes that somebody produces; the vocabulary of expressions is the union of all manifests."""

    revision: str = ""
    name: str = ""
    attributes: dict[str, AttributeInfo] = {}


class ClauseMatch(Message, frozen=True, kw_only=True):
    """Comparison of one attribute in a quota rule."""

    ONEOFS: ClassVar = (("exact", "prefix", "regex"),)

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class AttributeMatch(Message, frozen=True, kw_only=True):
    """Attribute name to comparison; all clauses of one match hold together."""

    clause: dict[str, ClauseMatch] = {}


class Quota(Message, frozen=True, kw_only=True):
    quota: str = ""
    charge: int = 0


class QuotaRule(Message, frozen=True, kw_only=True):
    """Charges its quotas when any match holds, or always when there is none."""

    match: tuple[AttributeMatch, ...] = ()
    quotas: tuple[Quota, ...] = ()


class QuotaSpec(Message, frozen=True, kw_only=True):
    rules: tuple[QuotaRule, ...] = ()


class IstioService(Message, frozen=True, kw_only=True):
    """A service by short name (with namespace and domain), or by `service`: an FQDN, `*`, or `*text*` for "contains"."""

    name: str = ""
    namespace: str = ""
    domain: str = ""
    service: str = ""
    labels: dict[str, str] = {}


class QuotaSpecReference(Message, frozen=True, kw_only=True):
    """`namespace` defaults to that of the binding."""

    name: str = ""
    namespace: str = ""


class QuotaSpecBinding(Message, frozen=True, kw_only=True):
    services: tuple[IstioService, ...] = ()
    quotaSpecs: tuple[QuotaSpecReference, ...] = ()


def _kind(name: str, plural: str, collection: str, spec: type) -> Kind:
    return registry.add(Kind(group="config.istio.io", version="v1alpha2", name=name, plural=plural, collection=collection, spec=spec))


RULE = _kind("rule", "rules", "istio/policy/v1beta1/rules", Rule)
HANDLER = _kind("handler", "handlers", "istio/policy/v1beta1/handlers", Handler)
INSTANCE = _kind("instance", "instances", "istio/policy/v1beta1/instances", Instance)
ADAPTER = _kind("adapter", "adapters", "istio/config/v1alpha2/adapters", Adapter)
TEMPLATE = _kind("template", "templates", "istio/config/v1alpha2/templates", Template)
ATTRIBUTE_MANIFEST = _kind("attributemanifest", "attributemanifests", "istio/policy/v1beta1/attributemanifests", AttributeManifest)
QUOTA_SPEC = _kind("QuotaSpec", "quotaspecs", "istio/mixer/v1/config/client/quotaspecs", QuotaSpec)
QUOTA_SPEC_BINDING = _kind("QuotaSpecBinding", "quotaspecbindings", "istio/mixer/v1/config/client/quotaspecbindings", QuotaSpecBinding)
