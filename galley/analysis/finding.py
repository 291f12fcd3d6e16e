# SPDX-License-Identifier: Apache-2.0
"""What analysis finds: one message about one resource, under Istio's code and level."""

from __future__ import annotations

from typing import Any, Final, Literal, NewType

import msgspec

from common.config.problem import Path, render_path
from common.config.resource import Resource, ResourceKey

Level = Literal["Error", "Warning", "Info"]
LEVELS: Final[tuple[Level, ...]] = ("Error", "Warning", "Info")
"""From worst to mildest."""

Code = NewType("Code", str)


class Rule(msgspec.Struct, frozen=True):
    """A code with its name and level: Istio's number, or one of ours that begins with FM."""

    code: Code
    name: str
    level: Level


def _rule(number: int, name: str, level: Level) -> Rule:
    return Rule(Code(f"IST{number:04}"), name, level)


NOT_ENFORCED: Final = Rule(Code("FM0001"), "NotEnforced", "Error")
"""Ours: Istio had no version in which a kind was accepted and not acted on."""
INTERNAL_ERROR: Final = _rule(1, "InternalError", "Error")
DEPRECATED: Final = _rule(2, "Deprecated", "Warning")
REFERENCED_RESOURCE_NOT_FOUND: Final = _rule(101, "ReferencedResourceNotFound", "Error")
GATEWAY_PORT_NOT_ON_WORKLOAD: Final = _rule(104, "GatewayPortNotOnWorkload", "Warning")
SCHEMA_VALIDATION_ERROR: Final = _rule(106, "SchemaValidationError", "Error")
CONFLICTING_MESH_GATEWAY_HOSTS: Final = _rule(109, "ConflictingMeshGatewayVirtualServiceHosts", "Error")
CONFLICTING_SIDECAR_SELECTORS: Final = _rule(110, "ConflictingSidecarWorkloadSelectors", "Error")
MULTIPLE_SIDECARS_WITHOUT_SELECTORS: Final = _rule(111, "MultipleSidecarsWithoutWorkloadSelectors", "Error")
DESTINATION_PORT_REQUIRED: Final = _rule(112, "VirtualServiceDestinationPortSelectorRequired", "Error")
JWT_ON_UNNAMED_PORT: Final = _rule(119, "JwtFailureDueToInvalidServicePortPrefix", "Warning")
PORT_NAME_CONVENTION: Final = _rule(118, "PortNameIsNotUnderNamingConvention", "Info")
UNREACHABLE_RULE: Final = _rule(130, "VirtualServiceUnreachableRule", "Warning")
INEFFECTIVE_MATCH: Final = _rule(131, "VirtualServiceIneffectiveMatch", "Info")
HOST_NOT_IN_GATEWAY: Final = _rule(132, "VirtualServiceHostNotFoundInGateway", "Warning")
CONFLICTING_GATEWAYS: Final = _rule(145, "ConflictingGateways", "Error")
INEFFECTIVE_POLICY: Final = _rule(167, "IneffectivePolicy", "Warning")
UNKNOWN_DESTINATION_RULE_HOST: Final = _rule(174, "UnknownDestinationRuleHost", "Warning")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`resource` is None when the finding is about the mesh as a whole; `path` is the field, empty when it is about all of it."""

    code: Code
    name: str
    level: Level
    resource: ResourceKey | None
    path: str
    message: str

    def __str__(self) -> str:
        """Istio's form: `Error [IST0101] (VirtualService default/reviews) text`."""
        about = f" ({self.resource})" if self.resource is not None else ""
        return f"{self.level} [{self.code}]{about} {self.message}"


def finding(rule: Rule, resource: Resource[Any] | None, path: Path, message: str) -> Finding:
    """A finding of this rule at a place that is given in steps."""
    key = resource.key if resource is not None else None
    return Finding(code=rule.code, name=rule.name, level=rule.level, resource=key, path=render_path(path), message=message)
