# SPDX-License-Identifier: Apache-2.0
"""What QuotaSpec and QuotaSpecBinding must keep to, over their schemas."""

from __future__ import annotations

from collections.abc import Iterator

from common.config.kinds.mixer import IstioService, QuotaSpec, QuotaSpecBinding
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import at_least, dns_label, each, fqdn, labels, regex


def quota_spec(spec: QuotaSpec, at: Path) -> Iterator[Problem]:
    if not spec.rules:
        yield problem((*at, "rules"), "at least one rule is needed")
    for rule, place in each(spec.rules, (*at, "rules")):
        if not rule.quotas:
            yield problem((*place, "quotas"), "a rule needs at least one quota to charge")
        for quota, where in each(rule.quotas, (*place, "quotas")):
            if not quota.quota:
                yield problem(where, "name the quota: the short name of an instance of template 'quota'")
            yield from at_least(quota.charge, 1, (*where, "charge"))
        for match, where in each(rule.match, (*place, "match")):
            for attribute, clause in match.clause.items():
                here = (*where, "clause", attribute)
                if not (clause.exact or clause.prefix or clause.regex):
                    yield problem(here, "a clause needs one of exact, prefix, regex, and not an empty one")
                if clause.regex:
                    yield from regex(clause.regex, (*here, "regex"))


def quota_spec_binding(spec: QuotaSpecBinding, at: Path) -> Iterator[Problem]:
    if not spec.services:
        yield problem((*at, "services"), "at least one service is needed; service: '*' means all")
    for service, place in each(spec.services, (*at, "services")):
        yield from istio_service(service, place)
    if not spec.quotaSpecs:
        yield problem((*at, "quotaSpecs"), "at least one QuotaSpec is needed")
    for reference, place in each(spec.quotaSpecs, (*at, "quotaSpecs")):
        if not reference.name:
            yield problem(place, "name the QuotaSpec")
        if reference.namespace:
            yield from dns_label(reference.namespace, (*place, "namespace"))


def istio_service(service: IstioService, at: Path) -> Iterator[Problem]:
    if bool(service.name) == bool(service.service):
        yield problem(at, "set either name (a short name) or service (a full name, '*' or '*text*')")
    elif service.service and (service.namespace or service.domain):
        yield problem((*at, "service"), "a full name in 'service' excludes namespace and domain; remove them")
    if service.name:
        yield from dns_label(service.name, (*at, "name"))
    if service.namespace:
        yield from dns_label(service.namespace, (*at, "namespace"))
    if service.domain:
        yield from fqdn(service.domain, (*at, "domain"))
    yield from labels(service.labels, (*at, "labels"))
