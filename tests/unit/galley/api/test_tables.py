# SPDX-License-Identifier: Apache-2.0
"""Tables for `kubectl get`."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

from common.config.registry import Kind, registry
from common.config.resource import Metadata, Resource, encode, from_document
from galley.api.tables.columns import COLUMNS
from galley.api.tables.table import Item, TableForm, age, table
from galley.store.model import Origin
from tests.running_galley import RunningGalley, document, service, virtual_service

IN_DEFAULT = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices"
AS_TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"}
NOW = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.UTC)

EXAMPLES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (virtual_service(), ["mesh", "reviews"], ["1 http"]),
    (
        document("VirtualService", "v", {"hosts": list("abcde"), "gateways": ["gw", "mesh"], "tcp": [{}, {}]}),
        ["gw,mesh", "a,b,c + 2 more..."],
        ["2 tcp"],
    ),
    (document("DestinationRule", "d", {"host": "a", "subsets": [{"name": "v1"}, {"name": "v2"}]}), ["a"], ["v1,v2"]),
    (
        document(
            "Gateway",
            "g",
            {"selector": {"istio": "ingressgateway"}, "servers": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}]},
        ),
        ["80/HTTP", "*"],
        ["istio=ingressgateway"],
    ),
    (
        document("ServiceEntry", "s", {"hosts": ["x.org"], "location": "MESH_EXTERNAL", "resolution": "DNS"}),
        ["x.org", "MESH_EXTERNAL", "DNS"],
        ["<none>"],
    ),
    (
        document("WorkloadEntry", "w", {"address": "127.0.0.7", "ports": {"http": 80}, "labels": {"app": "x"}}),
        ["127.0.0.7"],
        ["http:80", "app=x", "<none>"],
    ),
    (document("Sidecar", "s", {"egress": [{"hosts": ["./*", "istio-system/*"]}]}), ["./*,istio-system/*"], ["<none>"]),
    (service(), ["ClusterIP", "<none>", "<none>", "9080/TCP"], ["app=reviews"]),
    (
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "e"},
            "subsets": [{"addresses": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.5"}], "ports": [{"port": 80}]}],
        },
        ["1.2.3.4:80,1.2.3.5:80"],
        [],
    ),
    (document("handler", "h", {"compiledAdapter": "denier"}), ["denier"], []),
    (document("rule", "r", {"actions": [{"handler": "h"}]}), ["true"], ["h"]),
    (
        document("PeerAuthentication", "p", {"mtls": {"mode": "STRICT"}}, api="security.istio.io/v1beta1"),
        ["STRICT"],
        ["<none>"],
    ),
]


@pytest.mark.parametrize(("wanted", "narrow", "wide"), EXAMPLES, ids=lambda value: value.get("kind") if isinstance(value, dict) else "")
def test_cells(wanted: dict[str, Any], narrow: list[str], wide: list[str]) -> None:
    resource = from_document(wanted)
    read = msgspec.json.decode(table(TableForm("v1", "None"), resource.kind, "7", [Item(resource, b"{}")]))
    names = [column["name"] for column in read["columnDefinitions"]]
    (row,) = read["rows"]
    assert row["cells"] == [resource.name, *narrow, "<unknown>", *wide, "<unknown>", "<none>"]
    assert len(names) == len(row["cells"])
    assert [column["name"] for column in read["columnDefinitions"] if column["priority"]] == names[names.index("Age") + 1 :]


@pytest.mark.parametrize("kind", list(registry), ids=lambda kind: kind.name)
def test_every_column_reads_even_the_emptiest_object(kind: Kind) -> None:
    required = [field.name for field in msgspec.structs.fields(kind.spec) if field.required]
    spec = kind.spec(**dict.fromkeys(required, ""))
    empty: Resource[Any] = Resource(kind=kind, metadata=Metadata(name="x"), spec=spec)
    assert b'"rows":[{' in table(TableForm("v1", "None"), kind, "1", [Item(empty, b"{}")])


def test_columns_are_of_known_kinds() -> None:
    assert set(COLUMNS) <= {(kind.group, kind.name) for kind in registry}


def test_what_stands_behind_a_row() -> None:
    resource = from_document(virtual_service())
    item = Item(resource, encode(resource), Origin(file="mesh.yaml", line=3), ("IST0101", "IST0112"))
    rows = {
        include: msgspec.json.decode(table(TableForm("v1beta1", include), resource.kind, "7", [item], header=False))
        for include in ("None", "Metadata", "Object")
    }
    assert [read["columnDefinitions"] for read in rows.values()] == [[], [], []]
    assert "object" not in rows["None"]["rows"][0]
    partial = rows["Metadata"]["rows"][0]["object"]
    assert (partial["kind"], partial["apiVersion"], partial["metadata"]["name"]) == (
        "PartialObjectMetadata",
        "meta.k8s.io/v1beta1",
        "reviews",
    )
    assert rows["Object"]["rows"][0]["object"]["spec"]["hosts"] == ["reviews"]
    assert rows["Object"]["rows"][0]["cells"][-2:] == ["IST0101,IST0112", "mesh.yaml:3"]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        ({"seconds": -5}, "0s"),
        ({"seconds": 119}, "119s"),
        ({"seconds": 120}, "2m"),
        ({"minutes": 9, "seconds": 59}, "9m59s"),
        ({"minutes": 179}, "179m"),
        ({"hours": 3, "minutes": 7}, "3h7m"),
        ({"hours": 47}, "47h"),
        ({"days": 2}, "2d"),
        ({"days": 7, "hours": 23}, "7d23h"),
        ({"days": 729}, "729d"),
        ({"days": 800}, "2y70d"),
    ],
)
def test_ages_read_like_kubectls(span: dict[str, int], text: str) -> None:
    assert age((NOW - datetime.timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ"), NOW) == text
    assert age("", NOW) == "<unknown>"


async def test_a_table_only_for_who_asks_for_one(galley: RunningGalley) -> None:
    await galley.apply(virtual_service())
    async with galley.rest() as client:
        listing = (await client.get(IN_DEFAULT, headers=AS_TABLE)).json()
        one = (await client.get(f"{IN_DEFAULT}/reviews", headers=AS_TABLE)).json()
        v2 = (await client.get(IN_DEFAULT, headers={"accept": "application/json;as=Table;v=v2;g=meta.k8s.io"})).json()
        unknown = await client.get(f"{IN_DEFAULT}?includeObject=Everything", headers=AS_TABLE)
    assert (listing["kind"], listing["apiVersion"], one["kind"]) == ("Table", "meta.k8s.io/v1", "Table")
    assert listing["rows"][0]["cells"][:3] == one["rows"][0]["cells"][:3] == ["reviews", "mesh", "reviews"]
    assert listing["rows"][0]["object"]["metadata"]["namespace"] == "default"
    assert v2["kind"] == "VirtualServiceList", "a form that we do not know is no reason to fail"
    assert (unknown.status_code, unknown.json()["reason"]) == (400, "BadRequest")
