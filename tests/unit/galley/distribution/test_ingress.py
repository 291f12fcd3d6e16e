# SPDX-License-Identifier: Apache-2.0
"""What an Ingress means. Each fault of Istio 1.4's conversion has a test of the right behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.kinds.core import Service
from common.config.kinds.gateway import Gateway
from common.config.kinds.mesh import MeshConfig
from common.config.kinds.networking import GATEWAY, VIRTUAL_SERVICE
from common.config.kinds.virtual_service import VirtualService
from common.config.resource import Resource, encode, from_document
from common.mcp.publisher import Publisher
from galley.distribution.distributor import Distributor
from galley.distribution.ingress import CLASS_ANNOTATION, derived
from galley.store.model import Delete, Put
from galley.store.store import Store
from galley.store.workloads import Workloads
from galley.validation import validate_value
from tests.unit.galley.store import worlds

MESH = MeshConfig()


def backend(service: str, port: int | str = 80) -> dict[str, Any]:
    return {"service": {"name": service, "port": {"name": port} if isinstance(port, str) else {"number": port}}}


def path(value: str, service: str, *, type: str = "ImplementationSpecific", port: int | str = 80) -> dict[str, Any]:
    return {"path": value, "pathType": type, "backend": backend(service, port)}


def ingress(
    name: str, *rules: tuple[str, Sequence[dict[str, Any]]], namespace: str = "default", klass: str = "istio", **spec: Any
) -> Resource[Any]:
    written = [{**({"host": host} if host else {}), "http": {"paths": list(paths)}} for host, paths in rules]
    annotations = {CLASS_ANNOTATION: klass} if klass else {}
    return from_document(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": {**({"rules": written} if written else {}), **spec},
        }
    )


class Meaning:
    """What a set of Ingresses is turned into, in the words of the tests."""

    def __init__(
        self, *ingresses: Resource[Any], mesh: MeshConfig = MESH, services: Mapping[tuple[str, str], Service] | None = None
    ) -> None:
        self.resources = derived(ingresses, services or {}, mesh)
        for resource in self.resources:
            found, problems = validate_value(document_of(resource))
            assert found is not None
            assert problems == (), f"what is derived must itself be valid: {problems}"
        self.gateways = {r.name: r.spec for r in self.resources if isinstance(r.spec, Gateway)}
        self.virtual_services = {r.spec.hosts[0]: r.spec for r in self.resources if isinstance(r.spec, VirtualService)}

    def routes(self, host: str) -> list[str]:
        """`exact /a | prefix /a/ -> service.namespace:port`, in the order in which they are asked."""
        lines = []
        for route in self.virtual_services[host].http:
            matches = [f"exact {m.uri.exact}" if m.uri.exact else f"prefix {m.uri.prefix}" for m in route.match if m.uri is not None]
            to = route.route[0].destination
            assert to.port is not None
            lines.append(f"{' | '.join(matches) or 'all'} -> {to.host.removesuffix('.svc.cluster.local')}:{to.port.number}")
        return lines


def document_of(resource: Resource[Any]) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(encode(resource))
    return document


def test_a_host_and_its_paths() -> None:
    meaning = Meaning(
        ingress("shop", ("shop.example.com", [path("/cart", "cart"), path("/static/.*", "files"), path("/api/*", "api"), path("", "web")]))
    )
    (gateway,) = meaning.gateways.values()
    assert gateway.selector == {"istio": "ingressgateway"}
    assert [(s.port.number, s.port.protocol, s.port.name, s.hosts) for s in gateway.servers] == [
        (80, "HTTP", "http-80-i-shop-default", ("shop.example.com",))
    ]
    (name,) = meaning.gateways
    assert meaning.virtual_services["shop.example.com"].gateways == (f"istio-system/{name}",), "it refers to a Gateway that exists"
    assert meaning.routes("shop.example.com") == [
        "exact /cart -> cart.default:80",
        "prefix /static/ -> files.default:80",
        "prefix /api/ -> api.default:80",
        "all -> web.default:80",
    ]


def test_path_types_of_today() -> None:
    paths = [
        path("/", "root", type="Prefix"),
        path("/a", "a", type="Prefix"),
        path("/a/b", "ab", type="Prefix"),
        path("/a", "x", type="Exact"),
    ]
    assert Meaning(ingress("i", ("h.example.com", paths))).routes("h.example.com") == [
        "exact /a -> x.default:80",
        "exact /a/b | prefix /a/b/ -> ab.default:80",
        "exact /a | prefix /a/ -> a.default:80",
        "all -> root.default:80",
    ]


def test_each_tls_block_is_a_server() -> None:
    tls = [{"hosts": ["a.example.com"], "secretName": "a-cert"}, {"hosts": ["b.example.com"], "secretName": "b-cert"}, {}]
    (gateway,) = Meaning(ingress("i", ("a.example.com", [path("", "a")]), tls=tls)).gateways.values()
    https = [(s.hosts, s.tls.credentialName, s.tls.serverCertificate) for s in gateway.servers if s.tls is not None]
    assert https == [
        (("a.example.com",), "a-cert", ""),
        (("b.example.com",), "b-cert", ""),
        (("*",), "", "/etc/istio/ingress-certs/tls.crt"),
    ]
    assert len({s.port.name for s in gateway.servers}) == 4


@pytest.mark.parametrize(("mode", "served"), [("OFF", []), ("STRICT", ["ours", "by-field"]), ("DEFAULT", ["ours", "by-field", "nobody's"])])
def test_whose_ingress_it_is(mode: Any, served: list[str]) -> None:
    hosts = {"ours": "o.example.com", "nobody's": "n.example.com", "theirs": "t.example.com", "by-field": "f.example.com"}
    rule = {name: (host, [path("", "s")]) for name, host in hosts.items()}
    meaning = Meaning(
        ingress("ours", rule["ours"]),
        ingress("nobodys", rule["nobody's"], klass=""),
        ingress("theirs", rule["theirs"], klass="nginx"),
        ingress("by-field", rule["by-field"], klass="", ingressClassName="istio"),
        mesh=MeshConfig(ingressControllerMode=mode),
    )
    assert set(meaning.virtual_services) == {hosts[name] for name in served}


def test_each_route_goes_to_the_namespace_of_its_own_ingress() -> None:
    """1.4 took the namespace of the first Ingress for all routes of a host."""
    meaning = Meaning(
        ingress("a", ("h.example.com", [path("/a", "svc")]), namespace="one"),
        ingress("b", ("h.example.com", [path("/b", "svc")]), namespace="two"),
    )
    assert meaning.routes("h.example.com") == ["exact /a -> svc.one:80", "exact /b -> svc.two:80"]
    assert len(meaning.virtual_services["h.example.com"].gateways) == 2


def test_ingresses_of_one_name_are_two_gateways() -> None:
    """1.4 named both alike, and one of them was lost."""
    rule = ("h.example.com", [path("", "svc")])
    assert len(Meaning(ingress("same", rule, namespace="one"), ingress("same", rule, namespace="two")).gateways) == 2
    assert len(Meaning(ingress("b-c", rule, namespace="a"), ingress("c", rule, namespace="a-b")).gateways) == 2


def test_names_do_not_depend_on_who_else_is_there() -> None:
    """1.4 renamed the VirtualService of a host when an Ingress that sorts before came: the host was gone for a moment."""
    one = ingress("m", ("h.example.com", [path("/m", "svc")]))
    names = {r.key for r in Meaning(one).resources}
    assert names < {r.key for r in Meaning(one, ingress("a", ("h.example.com", [path("/a", "svc")]))).resources}


def test_every_contributor_is_in_the_version() -> None:
    """1.4 made the version of the first Ingress only, so that sinks missed changes of the others."""
    one, two = ingress("a", ("h.example.com", [path("/a", "svc")])), ingress("b", ("h.example.com", [path("/b", "svc")]))

    def version(*ingresses: Resource[Any]) -> str:
        (found,) = (r for r in Meaning(*ingresses).resources if isinstance(r.spec, VirtualService))
        return found.metadata.resourceVersion

    versions = {version(one), version(two), version(one, two), version(one, ingress("b", ("h.example.com", [path("/b", "other")])))}
    assert len(versions) == 4
    assert version(one, two) == version(two, one), "and the order of arrival is not"


def test_named_ports_are_looked_up_and_unknown_ones_get_no_traffic() -> None:
    service = worlds.service("web", ports=[{"name": "http", "port": 8080}]).spec
    rules = ("h.example.com", [path("/named", "web", port="http"), path("/wrong", "web", port="grpc"), path("/gone", "other", port="http")])
    assert Meaning(ingress("i", rules), services={("default", "web"): service}).routes("h.example.com") == [
        "exact /named -> web.default:8080"
    ]


def test_default_backends_come_last_and_serve_every_host() -> None:
    meaning = Meaning(ingress("i", ("h.example.com", [path("/a", "a")]), defaultBackend=backend("fallback")))
    assert meaning.routes("h.example.com") == ["exact /a -> a.default:80", "all -> fallback.default:80"]
    assert meaning.routes("*") == ["all -> fallback.default:80"]
    assert Meaning(ingress("i", ("", [path("/a", "a")]))).routes("*") == ["exact /a -> a.default:80"]


def test_the_older_way_of_writing_means_the_same() -> None:
    old = from_document(
        {
            "apiVersion": "extensions/v1beta1",
            "kind": "Ingress",
            "metadata": {"name": "i", "namespace": "default", "annotations": {CLASS_ANNOTATION: "istio"}},
            "spec": {
                "backend": {"serviceName": "fallback", "servicePort": 80},
                "rules": [
                    {"host": "h.example.com", "http": {"paths": [{"path": "/a", "backend": {"serviceName": "a", "servicePort": "80"}}]}}
                ],
            },
        }
    )
    new = ingress("i", ("h.example.com", [path("/a", "a")]), defaultBackend=backend("fallback"))
    assert [r.spec for r in Meaning(old).resources] == [r.spec for r in Meaning(new).resources]


HOSTS, PATHS, SERVICES = ("a.example.com", "b.example.com", "*.example.com", ""), ("", "/", "/a", "/a/*", "/b.*"), ("s1", "s2")
SOME_PATHS = st.lists(st.builds(path, st.sampled_from(PATHS), st.sampled_from(SERVICES)), max_size=3)
RULES = st.lists(st.tuples(st.sampled_from(HOSTS), SOME_PATHS), max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=4))
def test_order_never_matters_and_every_reference_is_good(worlds_of_rules: list[Any]) -> None:
    ingresses = [ingress(f"i{n}", *rules, namespace=f"ns{n % 2}", tls=[{}]) for n, rules in enumerate(worlds_of_rules)]
    forward, backward = Meaning(*ingresses), Meaning(*reversed(ingresses))
    assert [r.key for r in forward.resources] == [r.key for r in backward.resources]
    assert [r.metadata.resourceVersion for r in forward.resources] == [r.metadata.resourceVersion for r in backward.resources]
    for virtual_service in forward.virtual_services.values():
        assert {gateway.removeprefix("istio-system/") for gateway in virtual_service.gateways} <= set(forward.gateways)


class TestDistribution:
    """Beside what is configured, with versions that are never used twice."""

    async def world(self, store: Store) -> Publisher:
        publisher = Publisher()
        Distributor(store, await Workloads.open(store.writer, start=store.start), publisher)
        return publisher

    def names(self, publisher: Publisher, collection: str) -> list[str]:
        assert publisher.snapshot is not None
        return [name.partition("/")[2] for name in publisher.snapshot[collection].entries]

    async def test_hosts_come_and_go_with_their_ingress(self, tmp_path: Path) -> None:
        versions: dict[str, object] = {}
        async with worlds.opened(tmp_path) as store:
            publisher = await self.world(store)

            async def write(*intents: Any) -> None:
                await store.write(intents, actor="x")
                state = (publisher.snapshot or {})[VIRTUAL_SERVICE.collection]
                content = {name: entry.version for name, entry in state.entries.items()}
                assert versions.setdefault(state.version, content) == content, "a version names one content"

            await write(Put(resource=worlds.virtual_service("configured")))
            two = ingress("i", ("a.example.com", [path("", "s")]), ("b.example.com", [path("", "s")]))
            await write(Put(resource=two))
            assert len(self.names(publisher, VIRTUAL_SERVICE.collection)) == 3
            assert len(self.names(publisher, GATEWAY.collection)) == 1
            await write(Put(resource=ingress("i", ("a.example.com", [path("", "s")]))))
            (name,) = (n for n in self.names(publisher, VIRTUAL_SERVICE.collection) if n != "configured")
            assert name.startswith("a-example-com-"), "1.4 kept the VirtualService of the host that was removed"
            await write(Put(resource=worlds.service("unrelated")))
            await write(Delete(key=two.key))
            assert self.names(publisher, VIRTUAL_SERVICE.collection) == ["configured"]
            assert self.names(publisher, GATEWAY.collection) == []
            await write(Put(resource=two))
            before = publisher.snapshot
        async with worlds.opened(tmp_path) as store:
            after = (await self.world(store)).snapshot
            assert before is not None
            assert after is not None
            for collection in (VIRTUAL_SERVICE.collection, GATEWAY.collection):
                assert set(after[collection].entries) == set(before[collection].entries), "a restart derives the same"
                content = {name: entry.version for name, entry in after[collection].entries.items()}
                if collection == VIRTUAL_SERVICE.collection:
                    assert versions.setdefault(after[collection].version, content) == content

    async def test_a_named_port_follows_its_service(self, tmp_path: Path) -> None:
        async with worlds.opened(tmp_path) as store:
            publisher = await self.world(store)
            rules = ("h.example.com", [path("", "web", port="http")])
            await store.write([Put(resource=ingress("i", rules))], actor="x")
            assert self.names(publisher, VIRTUAL_SERVICE.collection) == []
            for port in (80, 8080):
                await store.write([Put(resource=worlds.service("web", ports=[{"name": "http", "port": port}]))], actor="x")
                (entry,) = (publisher.snapshot or {})[VIRTUAL_SERVICE.collection].entries.values()
                assert f'"number":{port}'.encode() in entry.body
