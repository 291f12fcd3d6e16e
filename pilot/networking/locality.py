# SPDX-License-Identifier: Apache-2.0
"""Locality load balancing (MeshConfig.localityLbSetting): how traffic of one locality is spread over the localities of a service.

Either fixed shares (`distribute`), or the nearest first and the others when it fails (`failover`), which needs outlier detection: without it
Envoy would never notice a failure. Istio 1.4 has the setting for the whole mesh only, and so have we. Clusters that DNS resolves carry their
endpoints with them, shared by all localities, and are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from common.config.kinds.mesh import LocalityDistribute, LocalityFailover, LocalityLoadBalancerSetting
from pilot.networking.wire import bounded_weight

Group = endpoint_components_pb2.LocalityLbEndpoints

_OTHER_REGION = 3
_LAST = 4


def apply_locality(
    assignment: endpoint_pb2.ClusterLoadAssignment, setting: LocalityLoadBalancerSetting, own: str, *, detects_failure: bool
) -> None:
    """Set weights or priorities as seen from the locality `own` (`region/zone/subzone`)."""
    if setting.distribute:
        rule = next((rule for rule in setting.distribute if matches(rule.from_, own)), None)
        if rule is not None:
            _distribute(assignment, rule)
    elif detects_failure:
        _fail_over(assignment, setting.failover, own)


def matches(pattern: str, locality: str) -> bool:
    """`region/zone/subzone`, cut short or ended by `*` for all below; `*` alone is everything."""
    wanted = [part for part in pattern.split("/") if part]
    if wanted and wanted[-1] == "*":
        wanted.pop()
    return locality.split("/")[: len(wanted)] == wanted


def locality_of(group: Group) -> str:
    return "/".join(part for part in (group.locality.region, group.locality.zone, group.locality.sub_zone) if part)


def _distribute(assignment: endpoint_pb2.ClusterLoadAssignment, rule: LocalityDistribute) -> None:
    """Each pattern's share is split by the weights of the groups that it is the first to match; groups without a share are not used."""
    unclaimed = list(assignment.endpoints)
    for pattern in sorted(rule.to):
        claimed = [group for group in unclaimed if matches(pattern, locality_of(group))]
        unclaimed = [group for group in unclaimed if group not in claimed]
        total = sum(group.load_balancing_weight.value for group in claimed)
        for group in claimed:
            share = -(-group.load_balancing_weight.value * rule.to[pattern] // total)
            if share > 0:
                group.load_balancing_weight.value = bounded_weight(share)
            else:
                unclaimed.append(group)
    for group in unclaimed:
        del group.lb_endpoints[:]


def _fail_over(assignment: endpoint_pb2.ClusterLoadAssignment, rules: Sequence[LocalityFailover], own: str) -> None:
    """Priority 0 is the own subzone, then the own zone, the own region, elsewhere. Envoy wants the numbers without gaps."""
    preferred = {rule.to for rule in rules if rule.from_ == own.split("/")[0]}
    wanted = [_distance(group, own, preferred) for group in assignment.endpoints]
    ranks = {distance: rank for rank, distance in enumerate(sorted(set(wanted)))}
    for group, distance in zip(assignment.endpoints, wanted, strict=True):
        group.priority = ranks[distance]


def _distance(group: Group, own: str, preferred: set[str]) -> int:
    region, zone, sub_zone = _parts(own)
    if group.locality.region != region:
        return _LAST if preferred and group.locality.region not in preferred else _OTHER_REGION
    if group.locality.zone != zone:
        return 2
    return 0 if group.locality.sub_zone == sub_zone else 1


def _parts(locality: str) -> Iterator[str]:
    parts = locality.split("/")
    return iter((*parts, "", "", "")[:3])
