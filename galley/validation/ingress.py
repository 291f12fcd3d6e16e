# SPDX-License-Identifier: Apache-2.0
"""What an Ingress must keep to, over its schemas: one set of rules for both ways of writing a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.config.kinds.ingress import (
    HTTPIngressPath,
    HTTPIngressPathV1Beta1,
    Ingress,
    IngressBackend,
    IngressBackendV1Beta1,
    IngressRule,
    IngressRuleV1Beta1,
    IngressV1Beta1,
)
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import dns_label, each, is_ip, port_number, wildcard_domain


def ingress(spec: Ingress | IngressV1Beta1, at: Path) -> Iterator[Problem]:
    field = "defaultBackend" if isinstance(spec, Ingress) else "backend"
    default = getattr(spec, field)
    if default is None and not spec.rules:
        yield problem(at, f"an Ingress needs rules or a {field}")
    if default is not None:
        yield from _backend(default, (*at, field))
    for tls, place in each(spec.tls, (*at, "tls")):
        for host, where in each(tls.hosts, (*place, "hosts")):
            yield from _host(host, where)
    rules: Sequence[IngressRule | IngressRuleV1Beta1] = spec.rules
    for rule, place in each(rules, (*at, "rules")):
        if rule.host:
            yield from _host(rule.host, (*place, "host"))
        if rule.http is None:
            continue
        if not rule.http.paths:
            yield problem((*place, "http", "paths"), "at least one path is needed")
        paths: Sequence[HTTPIngressPath | HTTPIngressPathV1Beta1] = rule.http.paths
        for path, where in each(paths, (*place, "http", "paths")):
            yield from _path(path, where)


def _host(host: str, at: Path) -> Iterator[Problem]:
    if is_ip(host):
        yield problem(at, f"{host!r} is an address; an Ingress is for names", found=host)
    elif host != "*":
        yield from wildcard_domain(host, at)


def _path(path: HTTPIngressPath | HTTPIngressPathV1Beta1, at: Path) -> Iterator[Problem]:
    if path.path and not path.path.startswith("/"):
        yield problem((*at, "path"), f"path {path.path!r} must begin with '/'", found=path.path)
    if isinstance(path, HTTPIngressPath) and not path.pathType:
        yield problem(at, "pathType is missing: Exact, Prefix or ImplementationSpecific")
    if path.pathType in ("Exact", "Prefix") and not path.path:
        yield problem(at, f"pathType {path.pathType} needs a path")
    yield from _backend(path.backend, (*at, "backend"))


def _backend(backend: IngressBackend | IngressBackendV1Beta1, at: Path) -> Iterator[Problem]:
    if isinstance(backend, IngressBackendV1Beta1):
        if not backend.serviceName:
            yield problem(at, "a backend needs serviceName and servicePort")
            return
        yield from dns_label(backend.serviceName, (*at, "serviceName"))
        yield from _port(backend.servicePort, (*at, "servicePort"))
        return
    if backend.service is None or not backend.service.name:
        yield problem(at, "a backend needs a service with its name and port")
        return
    yield from dns_label(backend.service.name, (*at, "service", "name"))
    port = backend.service.port
    yield from _port((port.number or port.name or None) if port is not None else None, (*at, "service", "port"))


def _port(port: int | str | None, at: Path) -> Iterator[Problem]:
    if port is None:
        yield problem(at, "the port of the service is missing: its number or its name")
    elif isinstance(port, int):
        yield from port_number(port, at)
    else:
        yield from dns_label(port, at)
