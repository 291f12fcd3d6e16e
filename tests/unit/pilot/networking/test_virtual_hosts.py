# SPDX-License-Identifier: Apache-2.0
"""Discovered virtual hosts: the same as inside the route configuration, but each by itself, and one rule changes those of its hosts alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from envoy.config.route.v3 import route_components_pb2, route_pb2

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.model.proxy import Proxy
from pilot.networking.generator import Generated
from tests.generated_mesh import Case, Mesh, proxy, proxy_of
from tests.unit.pilot.networking.test_outbound_routes import rule, service

GOLDENS = Path(__file__).parent / "goldens"


@cache
def case(name: str) -> Case:
    return Case.read((GOLDENS / f"{name}.input.yaml").read_text("utf-8"))


def sidecars() -> list[tuple[str, str]]:
    names = [path.name.removesuffix(".input.yaml") for path in sorted(GOLDENS.glob("*.input.yaml"))]
    return [(name, who) for name in names for who, document in case(name).proxies.items() if document.type == "sidecar"]


def discovering(who: Proxy) -> Proxy:
    return replace(who, discovers_virtual_hosts=True)


def discovered(mesh: Mesh, who: Proxy, *names: str) -> dict[str, Generated]:
    return {item.name: item for item in mesh.generated(discovering(who), TYPE_VIRTUAL_HOST, names)}


def bodies(mesh: Mesh, who: Proxy, *names: str) -> dict[str, bytes]:
    return {name: item.body for name, item in discovered(mesh, who, *names).items()}


@pytest.mark.parametrize(("golden", "name"), sidecars())
def test_they_are_those_of_a_proxy_that_does_not_discover_them(golden: str, name: str) -> None:
    mesh, who = case(golden).mesh, proxy_of(name, case(golden).proxies[name])
    whole, apart = mesh.ask(who), mesh.ask(discovering(who))
    assert apart.raw["clusters"] == whole.raw["clusters"] and apart.raw["listeners"] == whole.raw["listeners"]
    sources = {item.name: set(item.sources) for item in whole.raw["routes"]}
    assert apart.routes.keys() == whole.routes.keys()
    for route, configuration in apart.routes.items():
        if not route.isdecimal():
            assert configuration == whole.routes[route], "inbound ones and those of one sniffed service are sent whole"
            continue
        assert configuration.vhds.config_source.HasField("ads") and not configuration.virtual_hosts
        found = discovered(mesh, who, route)
        shown = route_pb2.RouteConfiguration()
        shown.CopyFrom(configuration)
        shown.ClearField("vhds")
        for item in found.values():
            host = route_components_pb2.VirtualHost.FromString(item.body)
            assert host.name == item.name, "Envoy finds a resource by its name and the routes' owner by its prefix"
            host.name = host.name.removeprefix(f"{route}/")
            assert host.name != item.name and "/" not in host.name
            shown.virtual_hosts.append(host)
            assert set(item.sources) <= sources[route]
        assert shown == whole.routes[route]
        assert {source for item in found.values() for source in item.sources} == sources[route]
        assert any("*" in host.domains for host in shown.virtual_hosts), "always one, or Envoy would wait for it"


def test_only_outbound_ports_of_sidecars_are_discovered() -> None:
    mesh = Mesh(service("a"))
    assert not discovered(mesh, proxy(), "inbound|80|http|a.default.svc.cluster.local", "a.default.svc.cluster.local:80")
    assert not discovered(mesh, proxy(type="router"), "80", "http.80")
    assert not mesh.generated(proxy(), TYPE_VIRTUAL_HOST, {"80"}), "nor by a proxy that does not say that it can"
    assert list(discovered(mesh, proxy(), "80", "81")) == ["80/a.default.svc.cluster.local:80", "80/allow_any", "81/allow_any"]


MESH = (service("a"), service("b", address="240.240.0.2"), service("c", address="240.240.0.3"))
TO_C = "{hosts: [%s], http: [{route: [{destination: {host: c}}]}]}"


def test_a_route_configuration_never_changes() -> None:
    who = discovering(proxy())
    before = Mesh(*MESH)
    after = Mesh(*MESH[1:], rule("b", TO_C % "b"), rule("x", TO_C % "x.example"), previous=before)
    assert before.generated(who, TYPE_ROUTE, {"80"}) == after.generated(who, TYPE_ROUTE, {"80"})


def test_a_rule_changes_the_virtual_hosts_of_its_hosts_alone() -> None:
    before = Mesh(*MESH, rule("a", TO_C % "a"))
    after = Mesh(*MESH, rule("a", TO_C % "a"), rule("b", TO_C % "b"), previous=before)
    first, second = (discovered(mesh, proxy(), "80") for mesh in (before, after))
    assert first.keys() == second.keys()
    assert {name for name in first if first[name].body != second[name].body} == {"80/b.default.svc.cluster.local:80"}
    assert second["80/b.default.svc.cluster.local:80"].sources == (
        ResourceKey("istio/networking/v1alpha3/virtualservices", "default", "b"),
    )
    gone = Mesh(*MESH, rule("b", TO_C % "b"), previous=after)
    third = bodies(gone, proxy(), "80")
    assert {name for name in third if third[name] != second[name].body} == {"80/a.default.svc.cluster.local:80"}


def test_a_rule_for_a_host_that_nobody_registered_changes_no_others() -> None:
    before = Mesh(*MESH)
    after = Mesh(*MESH, rule("x", TO_C % "x.example"), previous=before)
    first, second = (bodies(mesh, proxy(), "80") for mesh in (before, after))
    assert second.keys() - first.keys() == {"80/x.example:80"}
    assert all(second[name] == body for name, body in first.items())
    assert discovered(after, proxy(), "80")["80/x.example:80"].sources[0].name == "x"
    changed = Mesh(*MESH, rule("x", TO_C % "x.example"), rule("a", TO_C % "a"), previous=after)
    third = bodies(changed, proxy(), "80")
    assert {name for name in third if third[name] != second[name]} == {"80/a.default.svc.cluster.local:80"}


def test_a_rule_for_every_host_takes_the_place_of_the_catch_all() -> None:
    for texts in ((), MESH):  # where there are services, `*` means them
        found = discovered(Mesh(*texts, rule("all", TO_C % '"*"')), proxy(), "80")
        hosts = [route_components_pb2.VirtualHost.FromString(item.body) for item in found.values()]
        assert [host.name for host in hosts if "*" in host.domains] == (["80/allow_any"] if texts else ["80/*:80"])


def test_history_does_not_matter() -> None:
    before = Mesh(*MESH, rule("x", TO_C % "x.example"))
    bodies(before, proxy(), "80")
    for texts in ((*MESH, rule("b", TO_C % "b")), MESH[:2], (*MESH, rule("x", TO_C % "x.example"), rule("b", TO_C % "b"))):
        grown, fresh = Mesh(*texts, previous=before), Mesh(*texts)
        assert discovered(grown, proxy(), "80", "81") == discovered(fresh, proxy(), "80", "81")
