# SPDX-License-Identifier: Apache-2.0
"""Which routes ask Mixer, and with which quotas: MeshConfig and the QuotaSpecs bound to a service, given to the filter's route data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from envoy.config.route.v3 import route_components_pb2

from common.checkprotocol.epoch import policy_epoch
from common.config.kinds.mixer import QUOTA_SPEC, QUOTA_SPEC_BINDING, AttributeMatch, ClauseMatch, IstioService, QuotaSpec
from common.config.resource import Resource
from common.mesh.names import SERVICE_DOMAIN
from pilot.model.order import oldest_first
from pilot.model.push import PushContext
from pilot.networking.mixerclient import CHECKED, SERVICE_METADATA, MeshService, QuotaRule, RouteCheck, StringMatch, per_route


class CheckSettings:
    """What every checked route of one snapshot says."""

    def __init__(self, push: PushContext):
        self._mesh = push.mesh
        self._epoch = push.memo.get(("policy epoch", push.policy_versions), lambda: policy_epoch(push.policy_versions))
        specs = push.resources.get(QUOTA_SPEC.collection, {})
        bindings = push.resources.get(QUOTA_SPEC_BINDING.collection, {})
        self._specs: dict[str, Resource[QuotaSpec]] = dict(specs)
        self._bindings = oldest_first(bindings.values())

    def apply(
        self, route: route_components_pb2.Route, services: tuple[MeshService, ...], *, direction: Literal["inbound", "outbound"]
    ) -> None:
        """Write the filter's data onto a route that serves these services."""
        check = RouteCheck(
            services=services,
            direction=direction,
            check=not self._mesh.disablePolicyChecks,
            fail_open=self._mesh.policyCheckFailOpen,
            epoch=self._epoch,
            quotas=tuple(rule for service in services for rule in self._quotas(service)),
        )
        for name, config in per_route(check).items():
            route.typed_per_filter_config[name].CopyFrom(config)
        if check.check:
            route.metadata.filter_metadata[SERVICE_METADATA].MergeFrom(CHECKED)

    def _quotas(self, service: MeshService) -> Iterator[QuotaRule]:
        for binding in self._bindings:
            if not any(_binds(bound, binding.namespace, service) for bound in binding.spec.services):
                continue
            for reference in binding.spec.quotaSpecs:
                spec = self._specs.get(f"{reference.namespace or binding.namespace}/{reference.name}")
                if spec is not None:
                    yield from _rules(spec.spec)


def _rules(spec: QuotaSpec) -> Iterator[QuotaRule]:
    for rule in spec.rules:
        matches = tuple(tuple(_clauses(match)) for match in rule.match)
        for quota in rule.quotas:
            yield QuotaRule(quota=quota.quota, charge=quota.charge or 1, matches=matches)


def _clauses(match: AttributeMatch) -> Iterator[StringMatch]:
    for name in sorted(match.clause):
        clause = match.clause[name]
        attribute, _, rest = name.partition("[")
        kind, value = _comparison(clause)
        yield StringMatch(attribute=attribute, key=rest.removesuffix("]").strip("\"'"), kind=kind, value=value)


def _comparison(clause: ClauseMatch) -> tuple[Literal["exact", "prefix", "regex"], str]:
    if clause.prefix is not None:
        return "prefix", clause.prefix
    if clause.regex is not None:
        return "regex", clause.regex
    return "exact", clause.exact or ""


def _binds(bound: IstioService, namespace: str, service: MeshService) -> bool:
    """`service` is a full name, `*`, or `*text*`; otherwise name, namespace and domain make the full name."""
    if bound.service:
        pattern = bound.service
        if pattern == "*":
            return True
        if len(pattern) > 2 and pattern.startswith("*") and pattern.endswith("*"):
            return pattern[1:-1] in service.host
        return pattern == service.host
    return f"{bound.name}.{bound.namespace or namespace}.{bound.domain or SERVICE_DOMAIN}" == service.host
