# SPDX-License-Identifier: Apache-2.0
"""The rules of VirtualServices."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Judge = Callable[..., list[str]]

FULL = """
hosts: [reviews, ratings.prod.svc.cluster.local]
gateways: [mesh, prod/edge, ./edge]
exportTo: ["."]
http:
- name: all
  match:
  - uri: {prefix: /a}
    headers: {end-user: {exact: jason}, x-any: {}}
    queryParams: {q: {regex: "[a-z]+"}}
    sourceLabels: {app: a}
    port: 9080
  route:
  - destination: {host: reviews, subset: v1, port: {number: 9080}}
    weight: 90
    headers: {request: {set: {x: y}}}
  - destination: {host: reviews, subset: v2}
    weight: 10
  rewrite: {uri: /b}
  timeout: 0.5s
  retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,503,connect-failure"}
  fault:
    delay: {fixedDelay: 7s, percentage: {value: 0.1}}
    abort: {httpStatus: 500, percent: 50}
  mirror: {host: ratings}
  mirrorPercent: 10
  corsPolicy: {allowOrigin: ["*", "https://a.com:8443", "10.0.0.1"], allowMethods: [GET], maxAge: 24h, allowHeaders: [x-a]}
- redirect: {authority: b.com, redirectCode: 308}
tcp:
- match: [{destinationSubnets: [10.0.0.0/8], port: 80}]
  route: [{destination: {host: db}}]
tls:
- match: [{sniHosts: [reviews]}]
  route: [{destination: {host: reviews}}]
"""


def test_everything_at_once_is_fine(judge: Judge) -> None:
    assert judge("vs", FULL) == []


def route(text: str) -> str:
    return f"hosts: [a]\nhttp:\n- route: [{{destination: {{host: a}}}}]\n  {text}"


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ("hosts: [a]", "spec", "at least one of http, tls, tcp"),
        ("http: [{route: [{destination: {host: a}}]}]", "hosts", "at least one host"),
        (route("").replace("[a]", "['*']", 1), "hosts[0]", "not allowed for the gateway 'mesh'"),
        (route("").replace("[a]", "['*.a.com', b.a.com]", 1), "hosts[1]", "overlaps with '*.a.com'"),
        (route("").replace("[a]", "[a_b]", 1), "hosts[0]", "is not a host"),
        ("gateways: [a/b/c]\n" + route(""), "gateways[0]", "DNS label"),
        ("hosts: [a]\nhttp: [{}]", "http[0]", "at least one destination"),
        (route("redirect: {uri: /x}"), "http[0].route", "a redirect excludes route"),
        ("hosts: [a]\nhttp: [{redirect: {}}]", "http[0].redirect", "needs uri or authority"),
        ("hosts: [a]\nhttp: [{redirect: {uri: /, redirectCode: 304}}]", "http[0].redirect.redirectCode", "301, 302, 303, 307 or 308"),
        (route("rewrite: {}"), "http[0].rewrite", "needs uri or authority"),
        (route("timeout: 5"), "http[0].timeout", "write 5s"),
        (route("timeout: 0s"), "http[0].timeout", "leave the field out"),
        (route("retries: {attempts: -1}"), "http[0].retries.attempts", "too small"),
        (route("retries: {attempts: 0, retryOn: 5xx}"), "http[0].retries.attempts", "switches retries off"),
        (route("retries: {attempts: 1, retryOn: '5xx, reset'}"), "http[0].retries.retryOn", "' reset' is not a retry condition"),
        (route("fault: {}"), "http[0].fault", "needs an abort, a delay or both"),
        (route("fault: {abort: {percent: 5}}"), "http[0].fault.abort", "needs httpStatus"),
        (route("fault: {abort: {httpStatus: 600}}"), "http[0].fault.abort.httpStatus", "600 is not a status"),
        (route("fault: {abort: {grpcStatus: '5'}}"), "http[0].fault.abort.grpcStatus", "use httpStatus"),
        (route("fault: {delay: {fixedDelay: 0s}}"), "http[0].fault.delay.fixedDelay", "shorter than 1ms"),
        (route("fault: {delay: {exponentialDelay: 1s}}"), "http[0].fault.delay.exponentialDelay", "use fixedDelay"),
        (route("fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}"), "http[0].fault.delay.percentage.value", "not a percentage"),
        (route("mirrorPercent: 101"), "http[0].mirrorPercent", "not a percentage"),
        (route("mirror: {host: '*'}"), "http[0].mirror.host", "not '*'"),
        (route("match: [{uri: {regex: '*'}}]"), "http[0].match[0].uri.regex", "write '.*'"),
        (route("match: [{headers: {'a b': {}}}]"), 'http[0].match[0].headers["a b"]', "not a header name"),
        (route("match: [{port: 70000}]"), "http[0].match[0].port", "out of range"),
        (route("match: [{sourceLabels: {-a: b}}]"), 'http[0].match[0].sourceLabels["-a"]', "not a label key"),
        (route("headers: {request: {remove: [host]}}"), "http[0].headers.request.remove[0]", "'host' be removed"),
        (route("headers: {request: {set: {':path': /}}}"), 'http[0].headers.request.set[":path"]', "use 'rewrite'"),
        (route("appendHeaders: {'': x}"), 'http[0].appendHeaders[""]', "may not be empty"),
        (route("corsPolicy: {allowOrigin: ['a.com:99999', 'ftp://x']}"), "http[0].corsPolicy.allowOrigin[0]", "out of range"),
        (route("corsPolicy: {allowMethods: [get]}"), "http[0].corsPolicy.allowMethods[0]", "not an HTTP method"),
        (route("").replace("host: a}", "host: a, subset: v_1}"), "http[0].route[0].destination.subset", "DNS label"),
        (route("").replace("host: a}", "host: a, port: {number: 0}}"), "http[0].route[0].destination.port.number", "out of range"),
        (
            "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 90}, {destination: {host: b}, weight: 20}]}]",
            "http[0].route",
            "the weights must add up to 100; 90 + 20 = 110",
        ),
        ("hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 101}]}]", "http[0].route[0].weight", "not a percentage"),
        ("hosts: [a]\ntls: [{route: [{destination: {host: a}}]}]", "tls[0]", "needs at least one match"),
        (
            "hosts: [a]\ntls: [{match: [{sniHosts: [b]}], route: [{destination: {host: a}}]}]",
            "tls[0].match[0].sniHosts[0]",
            "does not belong",
        ),
        (
            "hosts: ['*a.com']\ntls: [{match: [{sniHosts: ['*a.com']}], route: [{destination: {host: a}}]}]",
            "tls[0].match[0].sniHosts[0]",
            "whole labels",
        ),
        ("hosts: [a]\ntcp: [{}]", "tcp[0]", "at least one destination"),
        (
            "hosts: [a]\ntcp: [{match: [{destinationSubnets: ['::1']}], route: [{destination: {host: a}}]}]",
            "tcp[0].match[0].destinationSubnets[0]",
            "IPv4",
        ),
        ("exportTo: [a, b]\n" + route(""), "exportTo", "only one entry"),
    ],
)
def test_a_mistake_is_named_at_its_place(judge: Judge, spec: str, path: str, words: str) -> None:
    found = judge("vs", spec)
    assert any(each.startswith(f"{path}: ") and words in each for each in found), found


def test_a_star_is_fine_at_a_gateway_alone(judge: Judge) -> None:
    assert judge("vs", "gateways: [edge]\n" + route("").replace("[a]", "['*']", 1)) == []


def test_one_destination_needs_no_weight_of_100(judge: Judge) -> None:
    assert judge("vs", "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 5}]}]") == []


def test_all_mistakes_of_a_document_are_found(judge: Judge) -> None:
    found = judge(
        "vs", "hosts: ['*', 'a_b']\nhttp:\n- timeout: x\n  retries: {attempts: -1, perTryTimeout: y}\n- {fault: {abort: {httpStatus: 1}}}"
    )
    assert len(found) == 8, found


def test_a_structural_mistake_does_not_hide_the_others(judge: Judge) -> None:
    found = judge("vs", "hosts: ['*']\nhttp:\n- timeout: 5\n  route: [{destination: {host: a}}]\n  retries: {attempts: -1}")
    assert [each.partition(":")[0] for each in found] == ["hosts[0]", "http[0].timeout", "http[0].retries.attempts"]
