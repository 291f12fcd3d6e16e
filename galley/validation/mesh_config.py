# SPDX-License-Identifier: Apache-2.0
"""What the MeshConfig must keep to, over its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.config.duration import DurationError, seconds
from common.config.kinds.mesh import NAME, LocalityLoadBalancerSetting, MeshConfig, ProxyConfig
from common.config.problem import Path, Problem, problem
from common.mesh.names import ROOT_NAMESPACE
from galley.validation.overlaps import overlaps
from galley.validation.primitives import as_number, at_least, dns_label, duration, each, export_to, fqdn, port_number


def mesh_config(spec: MeshConfig, at: Path, *, name: str, namespace: str) -> Iterator[Problem]:
    if name != NAME or namespace not in ("", ROOT_NAMESPACE):
        yield problem(
            ("metadata", "name"),
            f"there is one MeshConfig, {NAME!r} in namespace {ROOT_NAMESPACE!r}; this one is {name!r} in {namespace!r}",
            expected=f"{ROOT_NAMESPACE}/{NAME}",
        )
    for field in ("connectTimeout", "protocolDetectionTimeout", "dnsRefreshRate", "reportBatchMaxTime"):
        yield from duration(getattr(spec, field), (*at, field))
    if (length := _seconds(spec.connectTimeout)) is not None and length > 30:
        yield problem((*at, "connectTimeout"), f"connectTimeout {spec.connectTimeout} is too long", expected="1ms to 30s")
    yield from port_number(spec.proxyListenPort, (*at, "proxyListenPort"))
    if spec.proxyHttpPort:
        yield from port_number(spec.proxyHttpPort, (*at, "proxyHttpPort"))
    yield from at_least(spec.reportBatchMaxEntries, 0, (*at, "reportBatchMaxEntries"))
    for field in ("mixerCheckServer", "mixerReportServer"):
        if address := getattr(spec, field):
            yield from _address(address, (*at, field))
    yield from fqdn(spec.trustDomain, (*at, "trustDomain"))
    for alias, place in each(spec.trustDomainAliases, (*at, "trustDomainAliases")):
        yield from fqdn(alias, place)
    yield from dns_label(spec.rootNamespace, (*at, "rootNamespace"))
    for field in ("defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo"):
        yield from export_to(getattr(spec, field), (*at, field))
    yield from _proxy_config(spec.defaultConfig, (*at, "defaultConfig"))
    if spec.localityLbSetting is not None:
        yield from _locality(spec.localityLbSetting, (*at, "localityLbSetting"))


def _seconds(text: str) -> float | None:
    try:
        return seconds(text)
    except DurationError:
        return None


def _address(text: str, at: Path) -> Iterator[Problem]:
    host, colon, port = text.rpartition(":")
    number = as_number(port)
    if not colon or number is None:
        yield problem(at, f"{text!r} is not an address; write host:port", found=text)
        return
    yield from fqdn(host, at) if not host.replace(".", "").isdigit() else ()
    yield from port_number(number, at)


def _proxy_config(config: ProxyConfig, at: Path) -> Iterator[Problem]:
    for field in ("configPath", "binaryPath", "serviceCluster", "discoveryAddress"):
        if not getattr(config, field):
            yield problem((*at, field), f"{field} may not be empty")
    for field in ("drainDuration", "parentShutdownDuration", "connectTimeout"):
        yield from duration(getattr(config, field), (*at, field))
    drain, parent = _seconds(config.drainDuration), _seconds(config.parentShutdownDuration)
    if drain is not None and parent is not None:
        for field, length in (("drainDuration", drain), ("parentShutdownDuration", parent)):
            if length != int(length) or length > 3600:
                yield problem((*at, field), f"{field} must be whole seconds and at most an hour", found=getattr(config, field))
        if parent <= drain:
            yield problem((*at, "parentShutdownDuration"), "parentShutdownDuration must be longer than drainDuration")
    yield from port_number(config.proxyAdminPort, (*at, "proxyAdminPort"))
    for field in ("statsdUdpAddress", "zipkinAddress"):
        if address := getattr(config, field):
            yield from _address(address, (*at, field))
    for field in ("envoyAccessLogService", "envoyMetricsService"):
        if (address := getattr(config, field).get("address")) is not None:
            yield from _address(str(address), (*at, field, "address"))
    yield from _tracing(config.tracing, (*at, "tracing"))
    yield from at_least(config.concurrency, 0, (*at, "concurrency"))


def _tracing(tracing: Mapping[str, Any], at: Path) -> Iterator[Problem]:
    """The tracers' own settings are free-form: only what would leave a proxy without a tracer is looked at."""
    for tracer in ("zipkin", "lightstep", "datadog"):
        settings = tracing.get(tracer)
        if not isinstance(settings, Mapping):
            continue
        yield from _address(str(settings.get("address", "")).replace("$(HOST_IP)", "127.0.0.1"), (*at, tracer, "address"))
        if tracer == "lightstep":
            if not settings.get("accessToken"):
                yield problem((*at, tracer), "lightstep needs an accessToken")
            if settings.get("secure") and not settings.get("cacertPath"):
                yield problem((*at, tracer), "a secure lightstep needs cacertPath")


def _locality(setting: LocalityLoadBalancerSetting, at: Path) -> Iterator[Problem]:
    for entry, place in each(setting.distribute, (*at, "distribute")):
        yield from _locality_name(entry.from_, (*place, "from"))
        for name, weight in entry.to.items():
            yield from _locality_name(name, (*place, "to", name))
            yield from at_least(weight, 1, (*place, "to", name))
        yield from _no_overlap([(name, (*place, "to", name)) for name in entry.to])
        if (total := sum(entry.to.values())) != 100:
            yield problem((*place, "to"), f"the weights must add up to 100; these make {total}", expected="100", found=str(total))
    yield from _no_overlap([(entry.from_, (*place, "from")) for entry, place in each(setting.distribute, (*at, "distribute"))])
    for failover, place in each(setting.failover, (*at, "failover")):
        if failover.from_ == failover.to:
            yield problem((*place, "to"), f"failover from {failover.to!r} to itself does nothing", found=failover.to)
        if "*" in failover.to:
            yield problem((*place, "to"), "a failover goes to a named region, without '*'", found=failover.to)


def _locality_name(text: str, at: Path) -> Iterator[Problem]:
    parts = text.split("/")
    wildcard = "*" in text and (text.count("*") > 1 or not text.endswith("*"))
    if wildcard or not 1 <= len(parts) <= 3 or not all(parts):
        yield problem(
            at, f"{text!r} is not a locality; write region, region/zone or region/zone/subzone, with '*' only at the end", found=text
        )


def _no_overlap(names: Sequence[tuple[str, Path]]) -> Iterator[Problem]:
    """A locality covers its zones, whichever comes first; Istio 1.4 only saw a wildcard that came before what it covers."""
    for later, earlier in overlaps([(name.removesuffix("*").removesuffix("/") + "/", True) for name, _ in names]):
        text = f"locality {names[later][0]!r} overlaps with {names[earlier][0]!r}"
        yield problem(names[later][1], text, found=names[later][0])
