# SPDX-License-Identifier: Apache-2.0
"""Istio 1.3's kinds of their own for each adapter and each template of Mixer, which 1.4 still accepted.

Their whole spec is what a `handler` or an `instance` has under `params`; one table makes all 31.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from common.config.kinds.message import Message
from common.config.registry import Kind, registry


class LegacyHandler(Message, frozen=True, kw_only=True):
    """The parameters of one adapter; the kind says which."""

    params: dict[str, Any] = {}


class LegacyInstance(Message, frozen=True, kw_only=True):
    """The expressions of one template (`attributeBindings` among them); the kind says which."""

    params: dict[str, Any] = {}


_PLURALS: Final = {
    "bypass": "bypasses",
    "circonus": "circonuses",
    "kubernetes": "kuberneteses",
    "listentry": "listentries",
    "logentry": "logentries",
    "prometheus": "prometheuses",
    "solarwinds": "solarwindses",
    "signalfx": "signalfxs",
}
"""Istio 1.4's plurals that are not just the name with an s. `kuberneteses` was spelt so."""

_ADAPTERS: Final = (
    *("bypass", "circonus", "cloudwatch", "denier", "dogstatsd", "fluentd", "kubernetesenv", "listchecker", "memquota", "noop", "opa"),
    *("prometheus", "rbac", "redisquota", "signalfx", "solarwinds", "stackdriver", "statsd", "stdio", "zipkin"),
)
_TEMPLATES: Final = (
    *("apikey", "authorization", "checknothing", "edge", "kubernetes", "listentry", "logentry", "metric", "quota"),
    *("reportnothing", "tracespan"),
)


def _kinds(names: Iterable[str], spec: type[Message]) -> Mapping[str, Kind]:
    return MappingProxyType({name: _kind(name, _PLURALS.get(name, f"{name}s"), spec) for name in names})


def _kind(name: str, plural: str, spec: type[Message]) -> Kind:
    return registry.add(
        Kind(
            group="config.istio.io",
            version="v1alpha2",
            name=name,
            plural=plural,
            collection=f"istio/config/v1alpha2/legacy/{plural}",
            spec=spec,
            whole_field="params",
        )
    )


LEGACY_ADAPTERS: Final = _kinds(_ADAPTERS, LegacyHandler)
LEGACY_TEMPLATES: Final = _kinds(_TEMPLATES, LegacyInstance)
"""By name of the adapter or template."""
