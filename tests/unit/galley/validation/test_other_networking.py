# SPDX-License-Identifier: Apache-2.0
"""The rules of DestinationRules, Gateways, ServiceEntries, WorkloadEntries and Sidecars."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Judge = Callable[..., list[str]]

GOOD = {
    "dr": """
        host: reviews
        trafficPolicy:
          loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s}, minimumRingSize: 1024}}
          connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms}, http: {http1MaxPendingRequests: 1, idleTimeout: 5s}}
          outlierDetection: {consecutiveErrors: 5, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 100}
          tls: {mode: ISTIO_MUTUAL}
          portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]
        subsets: [{name: v1, labels: {version: v1}}, {name: v2, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]
        exportTo: ["*"]
        """,
    "gw": """
        selector: {istio: ingressgateway}
        servers:
        - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*", "prod/*.example.com", "./a.b"], tls: {httpsRedirect: true}}
        - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: SIMPLE, serverCertificate: c, privateKey: k}}
        - {port: {number: 444, name: m, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: MUTUAL, credentialName: c}}
        - {port: {number: 31400, name: tcp, protocol: TCP}, hosts: ["*"]}
        """,
    "se": """
        hosts: [db.example.com]
        addresses: [10.0.0.0/24, 10.1.1.1]
        ports: [{number: 3306, name: mysql, protocol: MySQL}]
        location: MESH_INTERNAL
        resolution: STATIC
        endpoints: [{address: 10.1.1.2, ports: {mysql: 3307}, labels: {v: "1"}}]
        """,
    "we": "{address: 10.0.0.1, ports: {http: 8080}, labels: {app: a}, serviceAccount: a, weight: 2}",
    "sidecar": """
        workloadSelector: {labels: {app: a}}
        ingress: [{port: {number: 9080, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080"}]
        egress: [{port: {number: 3306, protocol: TCP, name: db}, hosts: ["*/db.com"]}, {hosts: ["./*", "istio-system/*", "~/*"]}]
        outboundTrafficPolicy: {mode: REGISTRY_ONLY}
        """,
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_full_example_is_fine(judge: Judge, kind: str) -> None:
    assert judge(kind, GOOD[kind]) == []


def server(port: str, rest: str = "hosts: ['*']") -> str:
    return f"servers: [{{port: {{{port}}}, {rest}}}]"


HTTPS = "number: 443, name: s, protocol: HTTPS"
HTTP = "number: 80, name: h, protocol: HTTP"


@pytest.mark.parametrize(
    ("kind", "spec", "path", "words"),
    [
        ("dr", "{}", "host", "host is missing"),
        ("dr", "{host: a, trafficPolicy: {}}", "trafficPolicy", "at least one of"),
        ("dr", "{host: a, trafficPolicy: {connectionPool: {}}}", "trafficPolicy.connectionPool", "needs tcp or http"),
        (
            "dr",
            "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}",
            "trafficPolicy.connectionPool.tcp.maxConnections",
            "too small",
        ),
        (
            "dr",
            "{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
            "trafficPolicy.outlierDetection.maxEjectionPercent",
            "percentage",
        ),
        ("dr", "{host: a, trafficPolicy: {outlierDetection: {interval: x}}}", "trafficPolicy.outlierDetection.interval", "not a duration"),
        (
            "dr",
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {}}}}",
            "trafficPolicy.loadBalancer.consistentHash",
            "needs one of",
        ),
        (
            "dr",
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c}}}}}",
            "trafficPolicy.loadBalancer.consistentHash.httpCookie",
            "ttl",
        ),
        (
            "dr",
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 9000000}}}}",
            "trafficPolicy.loadBalancer.consistentHash.minimumRingSize",
            "out of range",
        ),
        (
            "dr",
            "{host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: c}}}",
            "trafficPolicy.tls.privateKey",
            "mode MUTUAL needs privateKey",
        ),
        (
            "dr",
            "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: c}}}",
            "trafficPolicy.tls.caCertificates",
            "from Citadel",
        ),
        ("dr", "{host: a, subsets: [{name: v1}, {name: v1}]}", "subsets[1].name", "used twice"),
        (
            "dr",
            "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}]}}",
            "trafficPolicy.portLevelSettings[0]",
            "at least one of",
        ),
        ("gw", "{}", "servers", "at least one server"),
        ("gw", server(HTTP, "hosts: []"), "servers[0].hosts", "at least one host"),
        ("gw", server(HTTP, "hosts: [short]"), "servers[0].hosts[0]", "short name"),
        ("gw", server("number: 0, name: h, protocol: HTTP"), "servers[0].port.number", "out of range"),
        ("gw", server("number: 80, protocol: HTTP"), "servers[0].port", "needs a name"),
        ("gw", server("number: 80, name: h, protocol: SPDY"), "servers[0].port.protocol", "unknown"),
        ("gw", server(HTTPS), "servers[0]", "needs a tls block"),
        ("gw", server(HTTPS, "hosts: ['*'], tls: {mode: SIMPLE}"), "servers[0].tls.serverCertificate", "or a credentialName"),
        ("gw", server(HTTPS, "hosts: ['*'], tls: {mode: ISTIO_MUTUAL, privateKey: k}"), "servers[0].tls.privateKey", "from Citadel"),
        ("gw", server(HTTPS, "hosts: ['*a.com'], tls: {mode: PASSTHROUGH}"), "servers[0].hosts[0]", "whole labels"),
        ("gw", server(HTTP, "hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}"), "servers[0].tls", "plain HTTP port"),
        ("gw", server("number: 1, name: t, protocol: TCP", "hosts: ['*'], tls: {}"), "servers[0].tls", "needs protocol HTTPS or TLS"),
        ("se", "{}", "hosts", "at least one host"),
        ("se", "{hosts: ['*']}", "hosts[0]", "not allowed"),
        ("se", "{hosts: [a.b], addresses: [10.0.0.0/8], resolution: DNS}", "addresses[0]", "needs resolution NONE or STATIC"),
        ("se", "{hosts: [a.b], endpoints: [{address: 1.2.3.4}]}", "endpoints", "use STATIC or DNS"),
        ("se", "{hosts: [a.b], resolution: STATIC}", "spec", "needs endpoints or a workloadSelector"),
        ("se", "{hosts: [a.b], resolution: STATIC, endpoints: [{address: a.b}]}", "endpoints[0].address", "not an IPv4"),
        ("se", "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 'unix:///a'}]}", "endpoints[0].address", "exactly one port"),
        ("se", "{hosts: [a.b], resolution: DNS, endpoints: [{address: a.b, ports: {x: 1}}]}", "endpoints[0].ports.x", "declared: none"),
        ("se", "{hosts: ['*.b'], resolution: DNS}", "hosts[0]", "DNS cannot resolve"),
        (
            "se",
            "{hosts: [a.b], ports: [{number: 1, name: a, protocol: TCP}, {number: 1, name: a, protocol: TCP}]}",
            "ports[1].number",
            "used twice",
        ),
        (
            "se",
            "{hosts: [a.b, c.d], ports: [{number: 1, name: a, protocol: TCP}], resolution: DNS}",
            "ports[0].protocol",
            "cannot tell them apart",
        ),
        ("se", "{hosts: [a.b], resolution: STATIC, workloadSelector: {}}", "workloadSelector", "needs labels"),
        ("we", "{address: 'a b'}", "address", "not a domain name"),
        ("we", "{address: 1.2.3.4, ports: {http: 0}}", "ports.http", "out of range"),
        ("sidecar", "{}", "egress", "at least one egress listener"),
        ("sidecar", "egress: [{hosts: [a.com]}]", "egress[0].hosts[0]", "needs a namespace"),
        ("sidecar", "egress: [{hosts: ['*/*']}, {hosts: ['*/*']}]", "egress[0]", "must be the last one"),
        ("sidecar", "egress: [{port: {number: 0}, hosts: ['*/*']}]", "egress[0].bind", "unix:///path"),
        (
            "sidecar",
            "{egress: [{hosts: ['*/*']}], ingress: [{port: {number: 1}, defaultEndpoint: '10.0.0.1:1'}]}",
            "ingress[0].defaultEndpoint",
            "127.0.0.1:port",
        ),
    ],
)
def test_a_mistake_is_named_at_its_place(judge: Judge, kind: str, spec: str, path: str, words: str) -> None:
    found = judge(kind, spec)
    assert any(each.startswith(f"{path}: ") and words in each for each in found), found
