# SPDX-License-Identifier: Apache-2.0
"""MeshConfig: settings of the whole mesh, as a resource named `default` in the root namespace.

Istio 1.4 read it from a file; the field names and defaults are Istio's. Fields that 1.4 itself had declared dead, and those that only
address other control-plane parts (ours are found by the bootstrap), are accepted and not read.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from common.config.kinds.destination_rule import H2UpgradePolicy, TcpKeepalive
from common.config.kinds.message import Duration, Message
from common.config.registry import Kind, registry
from common.mesh.names import ROOT_NAMESPACE

NAME = "default"
"""The only name that a MeshConfig may have."""


class MeshOutboundTrafficPolicy(Message, frozen=True, kw_only=True):
    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "ALLOW_ANY"


class LocalityDistribute(Message, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Traffic from `from` (a locality, `*` allowed at its end) is spread over `to`: locality to percent, together 100."""

    from_: str = ""
    to: dict[str, int] = {}


class LocalityFailover(Message, frozen=True, kw_only=True, rename={"from_": "from"}):
    from_: str = ""
    to: str = ""


class LocalityLoadBalancerSetting(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("distribute", "failover"),)

    distribute: tuple[LocalityDistribute, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()


class ProxyConfig(Message, frozen=True, kw_only=True):
    """Defaults for the agents. Times are Istio's; `concurrency: 0` means one worker a core."""

    configPath: str = "/etc/istio/proxy"
    binaryPath: str = "/usr/local/bin/envoy"
    serviceCluster: str = "istio-proxy"
    drainDuration: Duration = "45s"
    parentShutdownDuration: Duration = "60s"
    discoveryAddress: str = "istio-pilot:15010"
    connectTimeout: Duration = "1s"
    statsdUdpAddress: str = ""
    proxyAdminPort: int = 15000
    controlPlaneAuthPolicy: Literal["NONE", "MUTUAL_TLS"] = "NONE"
    customConfigFile: str = ""
    statNameLength: int = 189
    concurrency: int = 0
    proxyBootstrapTemplatePath: str = ""
    interceptionMode: Literal["REDIRECT", "TPROXY"] = "REDIRECT"
    zipkinAddress: str = ""
    tracing: dict[str, Any] = {}
    sds: dict[str, Any] = {}
    envoyAccessLogService: dict[str, Any] = {}
    envoyMetricsService: dict[str, Any] = {}


class MeshConfig(Message, frozen=True, kw_only=True):
    disablePolicyChecks: bool = True
    policyCheckFailOpen: bool = False
    enableClientSidePolicyCheck: bool = False
    disableMixerHttpReports: bool = False
    disableReportBatch: bool = False
    reportBatchMaxEntries: int = 0
    reportBatchMaxTime: Duration | None = None
    sidecarToTelemetrySessionAffinity: bool = False
    mixerCheckServer: str = ""
    mixerReportServer: str = ""

    proxyListenPort: int = 15001
    proxyHttpPort: int = 0
    connectTimeout: Duration = "1s"
    protocolDetectionTimeout: Duration = "0.1s"
    tcpKeepalive: TcpKeepalive | None = None
    dnsRefreshRate: Duration = "5s"
    h2UpgradePolicy: H2UpgradePolicy = "DO_NOT_UPGRADE"
    outboundTrafficPolicy: MeshOutboundTrafficPolicy = MeshOutboundTrafficPolicy()
    localityLbSetting: LocalityLoadBalancerSetting | None = None
    enableAutoMtls: bool = True
    """On, unlike Istio 1.4 (which learnt it in 1.4 and switched it on in 1.5): a mesh that is secure by default needs no DestinationRule for mTLS."""
    inboundClusterStatName: str = ""
    outboundClusterStatName: str = ""

    ingressClass: str = "istio"
    ingressService: str = "istio-ingressgateway"
    ingressControllerMode: Literal["OFF", "DEFAULT", "STRICT"] = "STRICT"

    enableTracing: bool = True
    accessLogFile: str = "/dev/stdout"
    accessLogFormat: str = ""
    accessLogEncoding: Literal["TEXT", "JSON"] = "TEXT"
    enableEnvoyAccessLogService: bool = False

    trustDomain: str = "cluster.local"
    trustDomainAliases: tuple[str, ...] = ()
    rootNamespace: str = ROOT_NAMESPACE
    defaultServiceExportTo: tuple[str, ...] = ("*",)
    defaultVirtualServiceExportTo: tuple[str, ...] = ("*",)
    defaultDestinationRuleExportTo: tuple[str, ...] = ("*",)

    defaultConfig: ProxyConfig = ProxyConfig()
    sdsUdsPath: str = ""
    configSources: tuple[dict[str, Any], ...] = ()
    certificates: tuple[dict[str, Any], ...] = ()


MESH_CONFIG = registry.add(
    Kind(
        group="mesh.istio.io",
        version="v1alpha1",
        name="MeshConfig",
        plural="meshconfigs",
        collection="istio/mesh/v1alpha1/MeshConfig",
        spec=MeshConfig,
    )
)
