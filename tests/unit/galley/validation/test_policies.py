# SPDX-License-Identifier: Apache-2.0
"""The rules of authentication policies, Mixer's kinds, quota, core kinds and the MeshConfig."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Judge = Callable[..., list[str]]

JWKS = '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}'


@pytest.mark.parametrize(
    ("kind", "name", "spec"),
    [
        ("policies", "default", "peers: [{mtls: }]"),
        ("policies", "p", "{targets: [{name: a, ports: [{number: 80}, {name: http}]}], peers: [{mtls: {mode: PERMISSIVE}}]}"),
        (
            "policies",
            "p",
            f"{{targets: [{{name: a}}], origins: [{{jwt: {{issuer: i, jwks: '{JWKS}', triggerRules: [{{excludedPaths: [{{suffix: x}}]}}]}}}}]}}",
        ),
        ("meshpolicies", "default", "peers: [{mtls: {}}]"),
        ("pa", "a", "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}"),
        ("rule", "r", '{match: \'destination.labels["app"] == "ratings"\', actions: [{handler: h, instances: [i.instance.ns]}]}'),
        (
            "rule",
            "r",
            "{actions: [{handler: h, instances: [i], name: a}], requestHeaderOperations: [{name: user-group, values: [a.output.value]}]}",
        ),
        ("handler", "h", "{compiledAdapter: denier, params: {status: {code: 7, message: Not allowed}}}"),
        ("handler", "h", "{compiledAdapter: memquota, params: {quotas: [{name: q.instance.ns, max_amount: 2, valid_duration: 5s}]}}"),
        ("handler", "h", "{adapter: mine, connection: {address: 'localhost:9000'}, params: {anything: 1}}"),
        ("instance", "i", "{compiledTemplate: metric, params: {value: '1', dimensions: {a: 'source.labels[\"app\"] | \"unknown\"'}}}"),
        ("instance", "i", "{compiledTemplate: checknothing}"),
        ("attributemanifest", "m", "attributes: {my.attribute: {valueType: STRING}}"),
        ("adapter", "a", "{templates: [metric], schema: {type: object}}"),
        ("quotaspec", "q", "rules: [{match: [{clause: {source.user: {exact: a}}}], quotas: [{quota: q, charge: 1}]}]"),
        ("quotaspecbinding", "b", "{services: [{service: '*'}, {name: productpage, namespace: default}], quotaSpecs: [{name: q}]}"),
        (
            "svc",
            "s",
            "{ports: [{name: http, port: 80, targetPort: 8080}, {name: m, port: 81, targetPort: web}], selector: {app: a}, clusterIP: None}",
        ),
    ],
)
def test_good_examples(judge: Judge, kind: str, name: str, spec: str) -> None:
    assert judge(kind, spec, name=name) == []


@pytest.mark.parametrize(
    ("kind", "name", "spec", "path", "words"),
    [
        ("policies", "p", "peers: [{mtls: {}}]", "metadata.name", "must be named 'default'"),
        ("policies", "default", "targets: [{name: a}]", "metadata.name", "remove targets"),
        ("policies", "default", "peers: [{}]", "peers[0]", "needs mtls or jwt"),
        ("policies", "default", "origins: [{jwt: {}}]", "origins[0].jwt.issuer", "issuer is missing"),
        ("policies", "default", "origins: [{jwt: {issuer: i}}, {jwt: {issuer: i}}]", "origins[1].jwt.issuer", "used twice"),
        ("policies", "default", "origins: [{jwt: {issuer: i, jwksUri: 'ftp://x'}}]", "origins[0].jwt.jwksUri", "http or https"),
        ("policies", "default", "origins: [{jwt: {issuer: i, jwks: '{}'}}]", "origins[0].jwt.jwks", "not a JSON Web Key Set"),
        ("policies", "default", "origins: [{jwt: {issuer: i, jwks: '{\"keys\": []}'}}]", "origins[0].jwt.jwks", "no usable key"),
        ("policies", "p", "targets: [{name: a.b, ports: [{}]}]", "targets[0].ports[0]", "its number or its name"),
        ("meshpolicies", "x", "{}", "metadata.name", "must be named 'default'"),
        ("pa", "a", "portLevelMtls: {80: {mode: STRICT}}", "portLevelMtls", "needs a selector"),
        ("pa", "a", "{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}", "portLevelMtls.http", "not a port number"),
        ("rule", "r", "{}", "spec", "needs actions"),
        ("rule", "r", "{match: source.user, actions: [{handler: h, instances: [i]}]}", "match", "is a STRING, but a BOOL is needed"),
        ("rule", "r", "{match: 'source.usr == \"a\"', actions: [{handler: h, instances: [i]}]}", "match", "did you mean source.user?"),
        ("rule", "r", "{match: 'source.user ==', actions: [{handler: h, instances: [i]}]}", "match", "ends too early"),
        ("rule", "r", "actions: [{handler: h, instances: [i, i]}]", "actions[0].instances[1]", "used twice"),
        ("rule", "r", "actions: [{}]", "actions[0]", "needs a handler"),
        ("rule", "r", "requestHeaderOperations: [{name: x, values: [request.size]}]", "requestHeaderOperations[0].values[0]", "INT64"),
        ("handler", "h", "{}", "spec", "needs compiledAdapter"),
        ("handler", "h", "compiledAdapter: memquta", "compiledAdapter", "did you mean 'memquota'?"),
        ("handler", "h", "{compiledAdapter: denier, params: {status: {mesage: x}}}", "params.status.mesage", "did you mean 'message'?"),
        ("handler", "h", "{compiledAdapter: denier, adapter: x}", "spec", "set only one of compiledAdapter, adapter"),
        ("handler", "h", "adapter: x", "connection", "needs connection.address"),
        ("instance", "i", "{compiledTemplate: metric, params: {value: hello}}", "params.value", "for the text itself write '\"hello\"'"),
        ("instance", "i", "{compiledTemplate: logentry, params: {severity: request.size}}", "params.severity", "a STRING is needed"),
        ("instance", "i", "{compiledTemplate: metrc}", "compiledTemplate", "did you mean 'metric'?"),
        (
            "instance",
            "i",
            "{compiledTemplate: quota, attributeBindings: {no.such: 'x'}}",
            'attributeBindings["no.such"]',
            "unknown attribute",
        ),
        ("attributemanifest", "m", "attributes: {'a b': {valueType: STRING}, c: {}}", "attributes.c", "valueType is missing"),
        ("adapter", "a", "schema: {type: thing}", "schema.type", "not a JSON Schema"),
        ("quotaspec", "q", "rules: [{quotas: [{quota: q}]}]", "rules[0].quotas[0].charge", "1 or more|too small"),
        (
            "quotaspec",
            "q",
            "rules: [{match: [{clause: {a: {}}}], quotas: [{quota: q, charge: 1}]}]",
            "rules[0].match[0].clause.a",
            "one of exact",
        ),
        ("quotaspecbinding", "b", "{services: [{}], quotaSpecs: [{name: q}]}", "services[0]", "either name"),
        ("svc", "s", "{}", "ports", "at least one port"),
        ("svc", "s", "ports: [{port: 80}, {port: 81}]", "ports[0]", "needs a name"),
        ("svc", "s", "{ports: [{port: 80}], clusterIP: x}", "clusterIP", "not an IP address"),
        ("meshconfig", "other", "{}", "metadata.name", "there is one MeshConfig"),
        ("meshconfig", "default", "connectTimeout: 31s", "connectTimeout", "too long"),
        (
            "meshconfig",
            "default",
            "defaultConfig: {drainDuration: 90s}",
            "defaultConfig.parentShutdownDuration",
            "longer than drainDuration",
        ),
        (
            "meshconfig",
            "default",
            "localityLbSetting: {distribute: [{from: a, to: {b: 99}}]}",
            "localityLbSetting.distribute[0].to",
            "these make 99",
        ),
        ("meshconfig", "default", "localityLbSetting: {failover: [{from: a, to: a}]}", "localityLbSetting.failover[0].to", "does nothing"),
    ],
)
def test_a_mistake_is_named_at_its_place(judge: Judge, kind: str, name: str, spec: str, path: str, words: str) -> None:
    found = judge(kind, spec, name=name)
    assert any(each.startswith(f"{path}: ") and any(part in each for part in words.split("|")) for each in found), found


def test_names_are_lower_case_and_mesh_wide_kinds_have_no_namespace(judge: Judge) -> None:
    assert "metadata.name: 'Big'" in judge("svc", "ports: [{port: 80}]", name="Big")[0]
    assert "remove its namespace" in judge("meshpolicies", "{}", name="default", namespace="a")[0]
