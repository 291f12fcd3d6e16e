# SPDX-License-Identifier: Apache-2.0
"""Findings at their place, and silence where all is well. Each case is a small mesh in YAML."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.resource import Resource
from galley.analysis import Finding, analyze
from galley.analysis.analysers import ANALYSERS
from galley.analysis.view import View
from galley.validation import validate_documents

API = {
    "VirtualService": "networking.istio.io/v1alpha3",
    "DestinationRule": "networking.istio.io/v1alpha3",
    "Gateway": "networking.istio.io/v1alpha3",
    "ServiceEntry": "networking.istio.io/v1alpha3",
    "WorkloadEntry": "networking.istio.io/v1alpha3",
    "Sidecar": "networking.istio.io/v1alpha3",
    "Policy": "authentication.istio.io/v1alpha1",
    "rule": "config.istio.io/v1alpha2",
    "denier": "config.istio.io/v1alpha2",
    "checknothing": "config.istio.io/v1alpha2",
    "handler": "config.istio.io/v1alpha2",
    "instance": "config.istio.io/v1alpha2",
    "QuotaSpecBinding": "config.istio.io/v1alpha2",
    "Service": "v1",
}

UNNAMED_PORT = "Service a: {ports: [{name: web, port: 80}]}"
PORT_80 = "{number: 80, name: h, protocol: HTTP}"
REVIEWS = "Service reviews: {ports: [{name: http, port: 9080}], selector: {app: reviews}}"


def mesh(*entries: str) -> list[Resource[Any]]:
    """Resources from `Kind [namespace/]name: spec` lines."""
    resources = []
    for entry in entries:
        head, _, spec = textwrap.dedent(entry).strip().partition(":")
        kind, _, where = head.partition(" ")
        namespace, _, name = where.rpartition("/")
        metadata = f"{{name: {name}, namespace: {namespace or 'default'}}}"
        text = f"apiVersion: {API[kind]}\nkind: {kind}\nmetadata: {metadata}\nspec:\n{textwrap.indent(spec.lstrip(), '  ')}\n"
        (result,) = validate_documents(text.encode(), "mesh")
        assert result.resource is not None, (text, result.problems)
        resources.append(result.resource)
    return resources


def found(*entries: str) -> list[tuple[str, str]]:
    return [(finding.code, finding.path) for finding in analyze(mesh(*entries))]


def route(host: str, *, name: str = "reviews", more: str = "", hosts: str = "reviews") -> str:
    return f"VirtualService {name}: {{hosts: [{hosts}], {more} http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}"


def test_a_mesh_that_fits_has_no_findings() -> None:
    assert (
        found(
            REVIEWS,
            "DestinationRule reviews: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}",
            route("reviews, subset: v1, port: {number: 9080}", more="gateways: [edge, mesh],"),
            "Gateway edge: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
            "handler h: {compiledAdapter: denier}",
            "instance i: {compiledTemplate: checknothing}",
            "rule r: {actions: [{handler: h, instances: [i.instance.default]}]}",
        )
        == []
    )


DESTINATION = "spec.http[0].route[0].destination"


@pytest.mark.parametrize(
    ("entries", "code", "path"),
    [
        ([REVIEWS, route("raings")], "IST0101", f"{DESTINATION}.host"),
        ([REVIEWS, route("reviews, port: {number: 1}")], "IST0101", f"{DESTINATION}.port.number"),
        ([REVIEWS, route("reviews, subset: v9")], "IST0101", f"{DESTINATION}.subset"),
        (["Service reviews: {ports: [{name: http, port: 1}, {name: http-b, port: 2}]}", route("reviews")], "IST0112", DESTINATION),
        ([REVIEWS, route("reviews", more="gateways: [edge],")], "IST0101", "spec.gateways[0]"),
        (
            [
                REVIEWS,
                route("reviews", more="gateways: [edge],", hosts="a.com"),
                "Gateway edge: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: [b.com]}]}",
            ],
            "IST0132",
            "spec.hosts[0]",
        ),
        ([REVIEWS, route("reviews", name="a"), route("reviews", name="b")], "IST0109", "spec.hosts"),
        (
            [REVIEWS, "VirtualService a: {hosts: [reviews], http: [{mirror: {host: gone}, route: [{destination: {host: reviews}}]}]}"],
            "IST0101",
            "spec.http[0].mirror.host",
        ),
        (
            [REVIEWS, "VirtualService a: {hosts: [reviews], http: [{appendHeaders: {a: b}, route: [{destination: {host: reviews}}]}]}"],
            "IST0002",
            "spec.http[0].appendHeaders",
        ),
        (
            ["Gateway g: {selector: {app: g}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]}"],
            "IST0101",
            "spec.selector",
        ),
        (
            [
                "WorkloadEntry g: {address: 1.2.3.4, labels: {app: g}}",
                "Service g: {ports: [{name: http, port: 80}], selector: {app: g}}",
                "Gateway g: {selector: {app: g}, servers: [{port: {number: 81, name: h, protocol: HTTP}, hosts: ['*']}]}",
            ],
            "IST0104",
            "spec.servers[0].port.number",
        ),
        (
            [
                f"Gateway {name}: {{selector: {{istio: ingressgateway}}, servers: [{{port: {PORT_80}, hosts: [{host}]}}]}}"
                for name, host in (("a", "'*.x.com'"), ("b", "a.x.com"))
            ],
            "IST0145",
            "spec.servers[0].hosts",
        ),
        (
            [
                "WorkloadEntry w: {address: 1.2.3.4, labels: {app: a, v: b}}",
                "Sidecar a: {workloadSelector: {labels: {app: a}}, egress: [{hosts: ['*/*']}]}",
                "Sidecar b: {workloadSelector: {labels: {v: b}}, egress: [{hosts: ['*/*']}]}",
            ],
            "IST0110",
            "spec.workloadSelector",
        ),
        (["Sidecar a: {egress: [{hosts: ['*/*']}]}", "Sidecar b: {egress: [{hosts: ['*/*']}]}"], "IST0111", "spec"),
        ([UNNAMED_PORT], "IST0118", "spec.ports[0]"),
        (["DestinationRule a: {host: gone}"], "IST0174", "spec.host"),
        (["rule r: {actions: [{handler: h, instances: [i]}]}"], "IST0101", "spec.actions[0].handler"),
        (["rule r: {actions: [{handler: h, instances: [i]}]}"], "IST0101", "spec.actions[0].instances[0]"),
        (["QuotaSpecBinding b: {services: [{service: '*'}], quotaSpecs: [{name: q}]}"], "IST0101", "spec.quotaSpecs[0]"),
        (["Policy p: {targets: [{name: gone}]}"], "IST0101", "spec.targets[0].name"),
        (
            ["Service a: {ports: [{name: tcp-a, port: 80}]}", "Policy p: {targets: [{name: a}], origins: [{jwt: {issuer: i}}]}"],
            "IST0119",
            "spec.targets",
        ),
        ([REVIEWS, route("reviews").replace("http:", "exportTo: [x], http:")], "IST0106", "spec.exportTo[0]"),
    ],
)
def test_what_does_not_fit_is_found_at_its_place(entries: list[str], code: str, path: str) -> None:
    assert (code, path) in found(*entries)


def test_hosts_of_other_namespaces_are_found_when_they_are_public() -> None:
    private = "ServiceEntry other/db: {hosts: [db.example.com], exportTo: ['.'], ports: [{number: 1, name: http, protocol: HTTP}]}"
    assert found(private, route("db.example.com", hosts="db.example.com")) == [("IST0101", f"{DESTINATION}.host")]
    assert found(private.replace("exportTo: ['.'], ", ""), route("db.example.com", hosts="db.example.com")) == []


def test_a_wildcard_service_entry_serves_its_names() -> None:
    entry = "ServiceEntry db: {hosts: ['*.example.com'], ports: [{number: 1, name: http, protocol: HTTP}]}"
    assert found(entry, route("db.example.com", hosts="db.example.com")) == []


def test_rules_after_a_catch_all_and_repeated_matches_are_never_reached() -> None:
    service = "VirtualService a: {hosts: [reviews], http: [%s]}"
    target = "route: [{destination: {host: reviews}}]"
    special, everything = f"{{match: [{{uri: {{prefix: /a}}}}], {target}}}", f"{{{target}}}"
    both = f"{{match: [{{uri: {{prefix: /a}}}}, {{uri: {{prefix: /b}}}}], {target}}}"
    assert found(REVIEWS, service % ", ".join([special, everything])) == []
    assert found(REVIEWS, service % ", ".join([everything, special])) == [("IST0130", "spec.http[1]")]
    assert found(REVIEWS, service % ", ".join([special, special])) == [("IST0130", "spec.http[1]")]
    assert found(REVIEWS, service % ", ".join([special, both])) == [("IST0131", "spec.http[1].match[0]")]


def test_an_analyser_that_fails_is_a_finding_and_stops_nobody() -> None:
    def broken(view: View) -> Iterator[Finding]:
        raise RuntimeError("oh")
        yield

    findings = analyze(mesh(UNNAMED_PORT), [broken, *ANALYSERS])
    assert [finding.code for finding in findings] == ["IST0001", "IST0118"]
    assert "test_analyze.broken failed: RuntimeError: oh" in findings[0].message


def test_findings_read_as_in_istio() -> None:
    (finding,) = analyze(mesh(REVIEWS, route("raings")))
    assert str(finding) == 'Error [IST0101] (VirtualService default/reviews) Referenced host not found: "raings"'


def test_a_host_that_is_nearly_right_is_suggested() -> None:
    (finding,) = analyze(mesh(REVIEWS, route("reveiws")))
    assert finding.message == 'Referenced host not found: "reveiws"; did you mean "reviews"?'


@settings(max_examples=20, deadline=None)
@given(st.permutations([REVIEWS, route("raings"), route("gone", name="b"), UNNAMED_PORT, "DestinationRule d: {host: x}"]))
def test_the_order_of_the_resources_does_not_matter(entries: list[str]) -> None:
    assert analyze(mesh(*entries)) == analyze(mesh(*sorted(entries)))


def test_a_resource_may_ask_not_to_be_told() -> None:
    resources = mesh(UNNAMED_PORT, route("raings"))

    def quiet(codes: str) -> list[str]:
        service, routing = resources
        metadata = msgspec.structs.replace(service.metadata, annotations={"galley.istio.io/analyze-suppress": codes})
        return [finding.code for finding in analyze([msgspec.structs.replace(service, metadata=metadata), routing])]

    assert quiet("IST0101") == ["IST0101", "IST0118"], "other codes, and other resources, are told"
    assert quiet("IST0101, IST0118") == ["IST0101"]
    assert quiet("*") == ["IST0101"]


def test_a_thousand_virtual_services_take_less_than_half_a_second() -> None:
    resources = mesh(
        *(f"Service s{n}: {{ports: [{{name: http, port: 80}}], selector: {{app: s{n}}}}}" for n in range(1000)),
        *(f"DestinationRule s{n}: {{host: s{n}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}" for n in range(1000)),
        *(route(f"{'gone' if n % 10 else 's'}{n}, subset: v1", name=f"s{n}", hosts=f"s{n}") for n in range(1000)),
    )
    began = time.process_time()
    findings = analyze(resources)
    spent = time.process_time() - began
    assert len(findings) == 900
    assert spent < 0.5, f"{spent:.2f} s of processor time"


def test_a_long_analysis_lets_others_go_first() -> None:
    breaths = []
    resources = mesh(*(f"Service s{n}: {{ports: [{{name: web, port: 80}}]}}" for n in range(100)))
    assert analyze(resources, breathe=lambda: breaths.append(1)) == analyze(resources)
    assert len(breaths) >= 2 * (100 // 8), "in several analysers, again and again"


def test_rules_may_name_the_older_kinds_of_mixer() -> None:
    found = analyze(
        mesh(
            "denier d: {status: {code: 7}}",
            "checknothing i: {}",
            "rule r: {actions: [{handler: d.denier, instances: [i.checknothing.default]}]}",
            "rule q: {actions: [{handler: d.stdio, instances: [i]}]}",
        )
    )
    assert [(str(finding.resource), finding.code) for finding in found] == [("rule default/q", "IST0101")] * 2
