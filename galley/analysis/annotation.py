# SPDX-License-Identifier: Apache-2.0
"""Annotations of Istio: known ones, on the kinds that they are for, with values that can be read.

A misspelt annotation is silent otherwise: nobody ever looks for it. The table is Istio 1.4's (45 names), and what it has for pods stands on
a WorkloadEntry here.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from common.config.resource import Resource
from galley.analysis.codes import INVALID_ANNOTATION, MISPLACED_ANNOTATION, RULES, UNKNOWN_ANNOTATION
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import as_number

Check = Callable[[str], str]
"""What is wrong with a value; empty when nothing is."""

SUPPRESS: Final = "galley.istio.io/analyze-suppress"
_INGRESS_CLASS: Final = "kubernetes.io/ingress.class"


def _any(_: str) -> str:
    return ""


def _one_of(*allowed: str) -> Check:
    return lambda value: "" if value in allowed else f'"{value}" is not one of {", ".join(allowed)}'


def _number(value: str) -> str:
    return "" if as_number(value) is not None else f'"{value}" is not a number'


def _ports(value: str) -> str:
    """`*`, or numbers with commas between."""
    bad = [port for port in value.split(",") if port and port != "*" and not (_number(port) == "" and 0 <= int(port) <= 65535)]
    return f'"{bad[0]}" is not a port' if bad else ""


def _ranges(value: str) -> str:
    for text in value.split(","):
        try:
            if text and text != "*":
                ipaddress.ip_network(text, strict=False)
        except ValueError:
            return f'"{text}" is not an address range'
    return ""


def _codes(value: str) -> str:
    unknown = [code for code in value.replace(" ", "").split(",") if code not in RULES and code != "*"]
    return f'"{unknown[0]}" is not a code of the analysis' if unknown else ""


def _scopes(value: str) -> str:
    bad = [scope for scope in value.split(",") if scope.strip() not in ("*", ".", "~")]
    return f"\"{bad[0]}\" is neither '*' nor '.'" if bad else ""


_boolean: Final = _one_of("true", "false", "y", "yes", "on", "n", "no", "off")
_level: Final = _one_of("trace", "debug", "info", "warning", "warn", "error", "critical", "off")


class _Known(NamedTuple):
    kinds: tuple[str, ...]
    """Empty: any."""
    check: Check = _any


_POD: Final = ("WorkloadEntry",)
_SERVICE: Final = ("Service",)
_ANYWHERE: Final = ()

_KNOWN: Final[dict[str, _Known]] = {
    "alpha.istio.io/canonical-serviceaccounts": _Known(_SERVICE),
    "alpha.istio.io/identity": _Known(_POD),
    "alpha.istio.io/kubernetes-serviceaccounts": _Known(_SERVICE),
    SUPPRESS: _Known(_ANYWHERE, _codes),
    "install.operator.istio.io/chart-owner": _Known(_ANYWHERE),
    "install.operator.istio.io/owner-generation": _Known(_ANYWHERE),
    "install.operator.istio.io/version": _Known(_ANYWHERE),
    _INGRESS_CLASS: _Known(("Ingress",)),
    "networking.alpha.istio.io/endpointsVersion": _Known(("Service", "ServiceEntry")),
    "networking.alpha.istio.io/notReadyEndpoints": _Known(("Service", "ServiceEntry")),
    "networking.alpha.istio.io/serviceVersion": _Known(("Service", "ServiceEntry")),
    "networking.istio.io/exportTo": _Known(_SERVICE, _scopes),
    "policy.istio.io/check": _Known(_POD, _one_of("enable", "disable", "allow-on-error")),
    "policy.istio.io/checkBaseRetryWaitTime": _Known(_POD),
    "policy.istio.io/checkMaxRetryWaitTime": _Known(_POD),
    "policy.istio.io/checkRetries": _Known(_POD, _number),
    "policy.istio.io/lang": _Known(_POD),
    "readiness.status.sidecar.istio.io/applicationPorts": _Known(_POD, _ports),
    "readiness.status.sidecar.istio.io/failureThreshold": _Known(_POD, _number),
    "readiness.status.sidecar.istio.io/initialDelaySeconds": _Known(_POD, _number),
    "readiness.status.sidecar.istio.io/periodSeconds": _Known(_POD, _number),
    "sidecar.istio.io/bootstrapOverride": _Known(_POD),
    "sidecar.istio.io/componentLogLevel": _Known(_POD),
    "sidecar.istio.io/controlPlaneAuthPolicy": _Known(_POD, _one_of("NONE", "MUTUAL_TLS")),
    "sidecar.istio.io/discoveryAddress": _Known(_POD),
    "sidecar.istio.io/enableCoreDump": _Known(_POD, _boolean),
    "sidecar.istio.io/inject": _Known(_POD, _boolean),
    "sidecar.istio.io/interceptionMode": _Known(_POD, _one_of("REDIRECT", "TPROXY", "NONE")),
    "sidecar.istio.io/logLevel": _Known(_POD, _level),
    "sidecar.istio.io/proxyCPU": _Known(_POD),
    "sidecar.istio.io/proxyImage": _Known(_POD),
    "sidecar.istio.io/proxyMemory": _Known(_POD),
    "sidecar.istio.io/rewriteAppHTTPProbers": _Known(_POD, _boolean),
    "sidecar.istio.io/statsInclusionPrefixes": _Known(_POD),
    "sidecar.istio.io/statsInclusionRegexps": _Known(_POD),
    "sidecar.istio.io/statsInclusionSuffixes": _Known(_POD),
    "sidecar.istio.io/status": _Known(_POD),
    "sidecar.istio.io/userVolume": _Known(_POD),
    "sidecar.istio.io/userVolumeMount": _Known(_POD),
    "status.sidecar.istio.io/port": _Known(_POD, _ports),
    "traffic.sidecar.istio.io/excludeInboundPorts": _Known(_POD, _ports),
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": _Known(_POD, _ranges),
    "traffic.sidecar.istio.io/excludeOutboundPorts": _Known(_POD, _ports),
    "traffic.sidecar.istio.io/includeInboundPorts": _Known(_POD, _ports),
    "traffic.sidecar.istio.io/includeOutboundIPRanges": _Known(_POD, _ranges),
    "traffic.sidecar.istio.io/kubevirtInterfaces": _Known(_POD),
}


def misuse(view: View) -> Iterator[Finding]:
    return view.each_of_all(_misuse)


def _misuse(view: View, resource: Resource[Any]) -> Iterator[Finding]:
    for name, value in resource.metadata.annotations.items():
        if name.partition("/")[0].endswith("istio.io") or name == _INGRESS_CLASS:
            yield from _annotation(resource, name, value)


def _annotation(resource: Resource[Any], name: str, value: str) -> Iterator[Finding]:
    at = ("metadata", "annotations", name)
    known = _KNOWN.get(name)
    if known is None:
        near = difflib.get_close_matches(name, _KNOWN, 1, cutoff=0.85)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        yield finding(UNKNOWN_ANNOTATION, resource, at, UNKNOWN_ANNOTATION.says(name) + hint)
    elif known.kinds and resource.kind.name not in known.kinds:
        yield finding(MISPLACED_ANNOTATION, resource, at, MISPLACED_ANNOTATION.says(name, " or ".join(known.kinds)))
    elif wrong := known.check(value):
        yield finding(INVALID_ANNOTATION, resource, at, INVALID_ANNOTATION.says(name, wrong))
