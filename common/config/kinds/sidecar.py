# SPDX-License-Identifier: Apache-2.0
"""Sidecar: what the proxies of a namespace, or of some workloads, listen on and can see."""

from __future__ import annotations

from typing import Literal

from common.config.kinds.message import Message, Port, WorkloadSelector

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]
OutboundMode = Literal["REGISTRY_ONLY", "ALLOW_ANY"]


class OutboundTrafficPolicy(Message, frozen=True, kw_only=True):
    """What happens to traffic for unknown destinations."""

    mode: OutboundMode = "REGISTRY_ONLY"


class IstioIngressListener(Message, frozen=True, kw_only=True):
    port: Port
    bind: str = ""
    captureMode: CaptureMode = "DEFAULT"
    defaultEndpoint: str = ""


class IstioEgressListener(Message, frozen=True, kw_only=True):
    """`hosts` are `namespace/dnsName` with `.`, `*` or `~` (nothing) as namespace and `*` or `*.x` as name."""

    port: Port | None = None
    bind: str = ""
    captureMode: CaptureMode = "DEFAULT"
    hosts: tuple[str, ...] = ()


class Sidecar(Message, frozen=True, kw_only=True):
    workloadSelector: WorkloadSelector | None = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    outboundTrafficPolicy: OutboundTrafficPolicy | None = None
