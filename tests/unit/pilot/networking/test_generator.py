# SPDX-License-Identifier: Apache-2.0
"""The promises of the door: sharing, fingerprints, determinism, and answers to names that nobody knows."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.resource import Resource, from_document
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext, Resources
from pilot.networking.generator import GroupKey, basis, fingerprint, generate, plan, plan_basis, regenerate
from tests.generated_mesh import Case, Mesh, proxy, proxy_of

GOLDENS = Path(__file__).parent / "goldens"
TEXTS = [path.read_text("utf-8") for path in sorted(GOLDENS.glob("*.input.yaml"))]
PROXIES = [proxy_of(name, document) for text in TEXTS for name, document in Case.read(text).proxies.items()]


POOL: list[Resource[Any]] = []
MESHES: list[frozenset[int]] = []
"""Each golden's resources, as numbers into the pool of all."""
for text in TEXTS:
    added = [from_document(document) for document in yaml.safe_load_all(text.split("\n---\n", 1)[1])]
    MESHES.append(frozenset(range(len(POOL), len(POOL) + len(added))))
    POOL += added
RESOURCES = st.sets(st.integers(0, len(POOL) - 1), max_size=25)


def chosen(numbers: AbstractSet[int]) -> Resources:
    found: dict[str, dict[str, Resource[Any]]] = {}
    for number in sorted(numbers):
        resource = POOL[number]
        found.setdefault(resource.kind.collection, {})[resource.key.mcp_name] = resource
    return found


def keys(push: PushContext, who: Proxy) -> set[GroupKey]:
    """Everything that a proxy would ask for, whether it discovers virtual hosts or not, and some names that it would not."""
    wildcard = {key for type_url in (TYPE_CLUSTER, TYPE_LISTENER) for key in plan(push, who, type_url, None)}
    clusters = {item.name for key in wildcard if key.type_url == TYPE_CLUSTER for item in generate(push, key)}
    routes = {"80", "9080", "http.80", "http.8080", "unnamed.default.svc.cluster.local:9100", "nobody:1"}
    routes |= {name for name in clusters if name.startswith("inbound")}
    explicit = {key for type_url, names in ((TYPE_ENDPOINT, clusters), (TYPE_ROUTE, routes)) for key in plan(push, who, type_url, names)}
    discovering = replace(who, discovers_virtual_hosts=True)
    discovered = {key for type_url in (TYPE_ROUTE, TYPE_VIRTUAL_HOST) for key in plan(push, discovering, type_url, routes)}
    return wildcard | explicit | discovered


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MESHES), st.sets(st.integers(0, len(POOL) - 1), min_size=1, max_size=2), st.sampled_from(PROXIES))
def test_equal_fingerprints_mean_equal_bytes_and_history_does_not_matter(mesh: frozenset[int], changed: set[int], who: Proxy) -> None:
    old = PushContext.build(chosen(mesh))
    keys(old, who)  # fill what the next snapshot takes over
    grown = PushContext.build(chosen(mesh ^ changed), old)
    fresh = PushContext.build(chosen(mesh ^ changed))
    compare(old, grown, who)
    for key in keys(grown, who):
        assert generate(grown, key) == generate(fresh, key) == regenerate(grown, key), key
        assert fingerprint(grown, key) == fingerprint(fresh, key), key


def compare(old: PushContext, new: PushContext, who: Proxy) -> None:
    """Equal fingerprints mean equal output, equal bases equal plans and fingerprints."""
    before, after = keys(old, who), keys(new, who)
    for key in before | after:
        if fingerprint(old, key) == fingerprint(new, key):
            assert generate(old, key) == generate(new, key), key
    for type_url in (TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST):
        if basis(old, type_url) == basis(new, type_url):
            assert plan_basis(old, type_url) == plan_basis(new, type_url)
            for key in before | after:
                if key.type_url == type_url:
                    assert fingerprint(old, key) == fingerprint(new, key), key
        if plan_basis(old, type_url) != plan_basis(new, type_url):
            continue
        if type_url in (TYPE_CLUSTER, TYPE_LISTENER):
            assert plan(old, who, type_url, None) == plan(new, who, type_url, None)
        elif type_url == TYPE_VIRTUAL_HOST:
            discovering = replace(who, discovers_virtual_hosts=True)
            assert plan(old, discovering, type_url, {"80", "9080"}) == plan(new, discovering, type_url, {"80", "9080"})
        else:
            names = frozenset(item.name for key in before | after if key.type_url == type_url for item in generate(old, key))
            assert plan(old, who, type_url, names) == plan(new, who, type_url, names)


@pytest.mark.parametrize("number", range(len(MESHES)))
def test_what_namespaces_share_is_what_each_would_get_alone(number: int) -> None:
    push = PushContext.build(chosen(MESHES[number]))
    proxies = [proxy_of(name, document) for name, document in Case.read(TEXTS[number]).proxies.items()]
    namespaces = {who.namespace for who in proxies} | {resource.namespace for resource in (POOL[index] for index in MESHES[number])}
    everybody = [replace(who, namespace=namespace) for who in proxies for namespace in sorted(namespaces - {""})]
    wanted = {key for who in everybody for key in keys(push, who)}
    for key in wanted:
        assert generate(push, key) == regenerate(push, key), key


@pytest.mark.parametrize("number", range(len(MESHES)))
def test_no_resource_can_leave_unnoticed(number: int) -> None:
    """Every resource of every golden is taken away alone: what then differs must have another fingerprint."""
    mesh = MESHES[number]
    whole = PushContext.build(chosen(mesh))
    for missing in mesh:
        less = PushContext.build(chosen(mesh - {missing}), whole)
        for name, document in Case.read(TEXTS[number]).proxies.items():
            compare(whole, less, proxy_of(name, document))


@settings(max_examples=50, deadline=None)
@given(RESOURCES, st.sampled_from(PROXIES))
def test_the_generated_whole_has_nothing_that_envoy_refuses(numbers: set[int], who: Proxy) -> None:
    mesh = Mesh()
    mesh.push = PushContext.build(chosen(numbers))
    answers = mesh.ask(who)
    addresses = [listener.address.SerializeToString() for listener in answers.listeners.values()]
    assert len(set(addresses)) == len(addresses)
    for listener in answers.listeners.values():
        matches = [chain.filter_chain_match.SerializeToString(deterministic=True) for chain in listener.filter_chains]
        assert matches and len(set(matches)) == len(matches), listener.name
        assert all(chain.filters for chain in listener.filter_chains)
    for configuration in answers.routes.values():
        domains = [domain.lower() for virtual_host in configuration.virtual_hosts for domain in virtual_host.domains]
        assert len(set(domains)) == len(domains), configuration.name
        routes = [route for virtual_host in configuration.virtual_hosts for route in virtual_host.routes]
        assert all(route.WhichOneof("action") for route in routes)
        assert all(virtual_host.domains and virtual_host.routes for virtual_host in configuration.virtual_hosts)


def test_replicas_share_every_group() -> None:
    mesh = Mesh(TEXTS[-1].split("\n---\n", 1)[1])
    first, second = (proxy(address=address, labels={"app": "a"}) for address in ("10.1.0.1", "10.1.0.2"))
    for type_url, names in ((TYPE_CLUSTER, None), (TYPE_LISTENER, None), (TYPE_ROUTE, frozenset({"80"}))):
        assert plan(mesh.push, first, type_url, names) == plan(mesh.push, second, type_url, names)


def test_unknown_names_are_answered_with_empty_resources() -> None:
    mesh = Mesh()
    (route,) = mesh.generated(proxy(), TYPE_ROUTE, {"inbound|1|x|nobody"})
    (endpoint,) = mesh.generated(proxy(), TYPE_ENDPOINT, {"outbound|1||nobody"})
    (gateway,) = mesh.generated(proxy(type="router"), TYPE_ROUTE, {"https.443.whatever"})
    assert (route.name, endpoint.name, gateway.name) == ("inbound|1|x|nobody", "outbound|1||nobody", "https.443.whatever")


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: default}
spec: {clusterIP: 240.240.0.%d, selector: {app: %s}, ports: [{name: http, port: 80}]}
---
"""


def test_one_changed_service_is_made_anew_and_the_others_are_the_same_bytes() -> None:
    first = Mesh(*(SERVICE % (name, number, name) for number, name in enumerate("abc")))
    before = {item.name: item for item in first.generated(proxy(), TYPE_CLUSTER)}
    second = Mesh(*(SERVICE % (name, number + (name == "b") * 9, name) for number, name in enumerate("abc")), previous=first)
    after = {item.name: item for item in second.generated(proxy(), TYPE_CLUSTER)}
    shared = {name for name in after if after[name] is before[name] and name.startswith("outbound")}
    assert shared == {f"outbound|80||{name}.default.svc.cluster.local" for name in "ac"}


def test_an_endpoint_changes_nothing_but_its_load_assignment() -> None:
    entry = """
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: a-%d, namespace: default, annotations: {fourmast.io/registered: "true"}}
spec: {address: 10.1.0.%d, labels: {app: a}, serviceAccount: a}
"""
    first = Mesh(SERVICE % ("a", 1, "a"), SERVICE % ("b", 2, "b"), entry % (1, 1))
    second = Mesh(SERVICE % ("a", 1, "a"), SERVICE % ("b", 2, "b"), entry % (1, 1), entry % (2, 2), previous=first)
    changed = {
        key.parts[0]
        for key in keys(second.push, proxy(labels={"app": "b"}))
        if fingerprint(first.push, key) != fingerprint(second.push, key)
    }
    assert {getattr(group, "cluster", group) for group in changed} == {"outbound|80||a.default.svc.cluster.local"}


def test_sources_name_the_configuration_that_made_a_resource() -> None:
    case = Case.read((GOLDENS / "destination-rule.input.yaml").read_text("utf-8"))
    made = {item.name: item for item in case.mesh.generated(proxy(), TYPE_CLUSTER)}
    assert [str(source) for source in made["outbound|80|v1|reviews.default.svc.cluster.local"].sources] == [
        "Service default/reviews",
        "DestinationRule default/reviews",
    ]
