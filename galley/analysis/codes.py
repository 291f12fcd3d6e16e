# SPDX-License-Identifier: Apache-2.0
"""Every code that analysis can report: Istio's numbers, names, levels and sentences, so that what users know and search for still fits.

The fifteen codes of Istio 1.4 come first, then later ones that mean something here. What a pod is to Istio, a workload is to us.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal, NewType

import msgspec

Level = Literal["Error", "Warning", "Info"]
LEVELS: Final[tuple[Level, ...]] = ("Error", "Warning", "Info")
"""From worst to mildest."""

Code = NewType("Code", str)


class Rule(msgspec.Struct, frozen=True):
    """A code with its name, level and sentence: Istio's, or one of ours that begins with FM. `text` has places as `str.format` fills them."""

    code: Code
    name: str
    level: Level
    text: str

    def says(self, *arguments: object) -> str:
        return self.text.format(*arguments)


RULES: dict[Code, Rule] = {}
"""All rules by code, in the order of this file."""


def _rule(number: int, name: str, level: Level, text: str) -> Rule:
    return _add(Rule(Code(f"IST{number:04}"), name, level, text))


def _add(rule: Rule) -> Rule:
    if rule.code in RULES:
        raise ValueError(f"{rule.code} is defined twice")
    RULES[rule.code] = rule
    return rule


# -- Istio 1.4 ------------------------------------------------------------------------------------------------------------------------

INTERNAL_ERROR: Final = _rule(1, "InternalError", "Error", "Internal error: {}")
DEPRECATED: Final = _rule(2, "Deprecated", "Warning", "Deprecated: {}")
REFERENCED_RESOURCE_NOT_FOUND: Final = _rule(101, "ReferencedResourceNotFound", "Error", 'Referenced {} not found: "{}"')
NAMESPACE_NOT_INJECTED: Final = _rule(
    102,
    "NamespaceNotInjected",
    "Info",  # a warning in Istio 1.4, mild since 1.5
    "The namespace is not enabled for Istio injection. Label it istio-injection=enabled to enable it, "
    "or istio-injection=disabled to explicitly mark it as not needing injection.",
)
POD_MISSING_PROXY: Final = _rule(
    103, "PodMissingProxy", "Warning", "The workload {} is missing the Istio proxy: no pilot-agent has registered it."
)
GATEWAY_PORT_NOT_ON_WORKLOAD: Final = _rule(
    104,
    "GatewayPortNotOnWorkload",
    "Warning",
    "The gateway refers to a port that is not exposed on the workload (workload selector {}; port {})",
)
PROXY_VERSION_MISMATCH: Final = _rule(
    105,
    "IstioProxyVersionMismatch",
    "Warning",
    "The version of the Istio proxy running on the workload does not match the version of the control plane "
    "(proxy version: {}; control plane version: {}). This often happens after upgrading the control plane and is mended by restarting "
    "the workload with the new pilot-agent.",
)
SCHEMA_VALIDATION_ERROR: Final = _rule(106, "SchemaValidationError", "Error", "Schema validation error: {}")
MISPLACED_ANNOTATION: Final = _rule(107, "MisplacedAnnotation", "Warning", "Misplaced annotation: {} can only be applied to {}")
UNKNOWN_ANNOTATION: Final = _rule(108, "UnknownAnnotation", "Warning", "Unknown annotation: {}")
CONFLICTING_MESH_GATEWAY_HOSTS: Final = _rule(
    109,
    "ConflictingMeshGatewayVirtualServiceHosts",
    "Error",
    "The VirtualServices {} associated with mesh gateway define the same host {} which can lead to undefined behavior. "
    "This can be fixed by merging the conflicting VirtualServices into a single resource.",
)
CONFLICTING_SIDECAR_SELECTORS: Final = _rule(
    110,
    "ConflictingSidecarWorkloadSelectors",
    "Error",
    'The Sidecars {} in namespace "{}" select the same workload "{}", which can lead to undefined behavior.',
)
MULTIPLE_SIDECARS_WITHOUT_SELECTORS: Final = _rule(
    111,
    "MultipleSidecarsWithoutWorkloadSelectors",
    "Error",
    'The Sidecars {} in namespace "{}" have no workload selector, which can lead to undefined behavior.',
)
DESTINATION_PORT_REQUIRED: Final = _rule(
    112,
    "VirtualServiceDestinationPortSelectorRequired",
    "Error",
    'This VirtualService routes to a service "{}" that exposes multiple ports [{}]. '
    "Specifying a port in the destination is required to disambiguate.",
)
JWT_ON_UNNAMED_PORT: Final = _rule(
    119,
    "JwtFailureDueToInvalidServicePortPrefix",
    "Warning",
    "Authentication policy with JWT targets Service with invalid port specification (port: {}, name: {}, protocol: {}, targetPort: {}).",
)

# -- later ----------------------------------------------------------------------------------------------------------------------------

MTLS_POLICY_CONFLICT: Final = _rule(
    113,
    "MTLSPolicyConflict",
    "Error",
    "A DestinationRule and Policy are in conflict with regards to mTLS for host {}. "
    'The DestinationRule "{}" specifies that mTLS must be {} but the Policy object "{}" specifies {}.',
)
POLICY_PORT_NAME: Final = _rule(
    114,
    "PolicySpecifiesPortNameThatDoesntExist",
    "Warning",
    "Port name {} could not be found for host {}, which means the Policy won't be enforced.",
)
MTLS_WITHOUT_SIDECAR: Final = _rule(
    115,
    "DestinationRuleUsesMTLSForWorkloadWithoutSidecar",
    "Error",
    "DestinationRule {} uses mTLS for workload {} that has no sidecar. The traffic from enabled sidecars will fail.",
)
SERVICES_DISAGREE_ON_PROTOCOL: Final = _rule(
    116,
    "DeploymentAssociatedToMultipleServices",
    "Warning",
    "The workload {} is associated with multiple services using port {} but different protocols: {}",
)
PORT_NAME_CONVENTION: Final = _rule(
    118,
    "PortNameIsNotUnderNamingConvention",
    "Info",
    "Port name {} (port: {}, targetPort: {}) doesn't follow the naming convention of Istio port.",
)
INVALID_ANNOTATION: Final = _rule(125, "InvalidAnnotation", "Warning", "Invalid annotation {}: {}")
NO_MATCHING_WORKLOADS: Final = _rule(
    127, "NoMatchingWorkloadsFound", "Warning", "No matching workloads for this resource with the following labels: {}"
)
NO_SERVER_VERIFICATION: Final = _rule(
    128,
    "NoServerCertificateVerificationDestinationLevel",
    "Warning",
    "DestinationRule {} in namespace {} has TLS mode set to {} but no caCertificates are set to validate server identity for host: {}",
)
NO_SERVER_VERIFICATION_AT_PORT: Final = _rule(
    129,
    "NoServerCertificateVerificationPortLevel",
    "Warning",
    "DestinationRule {} in namespace {} has TLS mode set to {} but no caCertificates are set to validate server identity "
    "for host: {} at port {}",
)
UNREACHABLE_RULE: Final = _rule(130, "VirtualServiceUnreachableRule", "Warning", "VirtualService rule {} not used ({}).")
INEFFECTIVE_MATCH: Final = _rule(
    131, "VirtualServiceIneffectiveMatch", "Info", "VirtualService rule {} match {} is not used (duplicates a match in rule {})."
)
HOST_NOT_IN_GATEWAY: Final = _rule(
    132,
    "VirtualServiceHostNotFoundInGateway",
    "Warning",
    "one or more host [{}] defined in VirtualService {} not found in Gateway {}.",
)
ADDRESSES_REQUIRED: Final = _rule(
    134, "ServiceEntryAddressesRequired", "Warning", "ServiceEntry addresses are required for this protocol: {}."
)
SERVICES_DISAGREE_ON_PORT: Final = _rule(
    137,
    "DeploymentConflictingPorts",
    "Warning",
    'The workload {} is associated with multiple services {} using targetPort "{}" but different ports: {}.',
)
DUPLICATE_CERTIFICATE: Final = _rule(
    138,
    "GatewayDuplicateCertificate",
    "Warning",
    "Duplicate certificate in multiple gateways [{}] may cause 404s if clients re-use HTTP2 connections.",
)
CONFLICTING_GATEWAYS: Final = _rule(
    145, "ConflictingGateways", "Error", "Conflict with gateways {} (workload selector {}, port {}, hosts {})."
)
EXTERNAL_NAME_PORT: Final = _rule(
    150,
    "ExternalNameServiceTypeInvalidPortName",
    "Warning",
    "Port name for ExternalName service is invalid: {}. Proxy may prevent tcp named ports and unmatched traffic for ports "
    "serving TCP protocol from being forwarded correctly",
)
ADD_IGNORED: Final = _rule(
    153,
    "EnvoyFilterUsesAddOperationIncorrectly",
    "Error",
    "The ADD operation will be ignored when applyTo is set to {}.",
)
REMOVE_IGNORED: Final = _rule(
    154,
    "EnvoyFilterUsesRemoveOperationIncorrectly",
    "Error",
    "The REMOVE operation will be ignored when applyTo is set to {}.",
)
INEFFECTIVE_POLICY: Final = _rule(167, "IneffectivePolicy", "Warning", "{} has no effect")
SUBSET_WITHOUT_WORKLOADS: Final = _rule(
    173, "DestinationRuleSubsetNotSelectPods", "Error", "The Subset {} defined in the DestinationRule does not select any workloads."
)
UNKNOWN_DESTINATION_RULE_HOST: Final = _rule(
    174, "UnknownDestinationRuleHost", "Warning", 'The host "{}" defined in the DestinationRule does not match any services in the mesh.'
)
CONFLICTING_SERVICE_ENTRY_PROTOCOL: Final = _rule(
    177,
    "ConflictingServiceEntryProtocol",
    "Warning",
    "ServiceEntries {} define host {} port {} with conflicting protocols {}.",
)

# -- ours -----------------------------------------------------------------------------------------------------------------------------

NOT_ENFORCED: Final = _add(Rule(Code("FM0001"), "NotEnforced", "Error", "{} is stored but not enforced by this version: {}"))
"""Istio had no version in which a kind was accepted and not acted on."""

# -- none of ours ---------------------------------------------------------------------------------------------------------------------

NOT_APPLICABLE: Final = MappingProxyType(
    {
        "IST0117": "DeploymentRequiresServiceAssociated: a workload that only calls others needs no Service.",
        "IST0122": "InvalidRegexp: regexes are compiled at apply, and a wrong one is refused (IST0106 for what is stored already).",
        "IST0133": "SchemaWarning: what is not wrong enough to be refused has a code of its own.",
        "IST0143": "LocalhostListener: where a workload listens is declared in mesh.yaml; loopback addresses are normal on one machine.",
        "IST0162": "GatewayPortNotDefinedOnService is what later versions call IST0104.",
    }
)
"""Codes that someone may look for in vain, with the reason."""
