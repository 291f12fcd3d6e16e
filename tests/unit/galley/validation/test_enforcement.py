# SPDX-License-Identifier: Apache-2.0
"""Nothing may be accepted in silence and then not be acted on."""

from __future__ import annotations

from typing import Any

import pytest

from common.config import Kind, Resource, registry
from common.config.resource import from_document
from galley.analysis import analyze
from galley.distribution.translation import INGRESSES
from galley.validation.enforcement import NEVER_READ, NOT_ENFORCED, gaps
from mixer.rules.intake import ALL_COLLECTIONS
from pilot.model.push import COLLECTIONS
from pilot.networking.gateway import merge

ACTED_ON = {*COLLECTIONS, *ALL_COLLECTIONS, *INGRESSES, "k8s/core/v1/namespaces"}


def resource(kind: Kind, **spec: Any) -> Resource[Any]:
    metadata = {"name": "x"} if kind.cluster_scoped else {"name": "x", "namespace": "default"}
    return from_document({"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec})


@pytest.mark.parametrize("kind", tuple(registry), ids=lambda kind: f"{kind.group}-{kind.version}-{kind.name}")
def test_a_kind_is_acted_on_or_said_not_to_be(kind: Kind) -> None:
    """When this fails for a kind that you have just made work: take it out of galley/validation/enforcement.py."""
    is_said_not_to_be = kind.collection in NOT_ENFORCED or kind.collection in NEVER_READ
    assert (kind.collection in ACTED_ON) is not is_said_not_to_be


@pytest.mark.parametrize("collection", NOT_ENFORCED)
def test_what_is_not_enforced_is_an_error(collection: str) -> None:
    kind = registry.by_collection(collection)
    assert kind is not None
    (found,) = (each for each in analyze([resource(kind)]) if each.code == "FM0001")
    assert str(found).startswith(f"Error [FM0001] ({resource(kind).key}) {kind.name} is stored but not enforced by this version: ")


def test_what_istio_did_not_read_either_is_a_warning() -> None:
    kind = registry.find("config.istio.io/v1alpha2", "HTTPAPISpec")
    assert [found.level for found in analyze([resource(kind)]) if found.code == "IST0167"] == ["Warning"]


def test_what_holds_is_not_warned_about() -> None:
    mutual_tls = resource(registry.find("authentication.istio.io/v1alpha1", "Policy"), peers=[{"mtls": {}}])
    assert not list(gaps(mutual_tls))


def test_of_a_sidecar_what_is_not_followed_is_said_at_the_field() -> None:
    kind = registry.find("networking.istio.io/v1alpha3", "Sidecar")
    assert not list(gaps(resource(kind, egress=[{"hosts": ["./*"]}])))
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    spec = {"workloadSelector": {"labels": {"app": "x"}}, "egress": [{"hosts": ["./*"]}, {"port": port, "hosts": ["./*"]}]}
    assert [gap.path for gap in gaps(resource(kind, **spec))] == [("spec", "workloadSelector"), ("spec", "egress", 1, "port")]


def test_a_gateway_server_that_is_not_opened_is_said_at_its_tls() -> None:
    kind = registry.find("networking.istio.io/v1alpha3", "Gateway")
    port, hosts = {"number": 443, "name": "https", "protocol": "HTTPS"}, ["*"]
    ends = {"port": port, "hosts": hosts, "tls": {"mode": "SIMPLE", "credentialName": "c"}}
    passes = {"port": {**port, "number": 444}, "hosts": hosts, "tls": {"mode": "PASSTHROUGH"}}
    gateway = resource(kind, selector={"istio": "ingressgateway"}, servers=[passes, ends])
    assert [gap.path for gap in gaps(gateway)] == [("spec", "servers", 1, "tls")]
    opened = {server.server.port.number for port in merge([gateway]) for server in port.servers}
    assert opened == {444}
