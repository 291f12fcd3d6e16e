# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document: every kind, in words that kubectl understands, the same in both forms."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from common.config.registry import Kind, registry
from common.proto.openapi import v2_pb2 as openapi
from galley.api.openapi import openapi_document, to_wire
from galley.api.openapi.document import GVK, definition_name
from tests.running_galley import RunningGalley

OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
NEW = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a definition."""
    if isinstance(node, dict):
        yield node
        for name, value in node.items():
            if name == "properties":
                for inner in value.values():
                    yield from schemas(inner)
            elif name in ("items", "additionalProperties"):
                yield from schemas(value)


@pytest.mark.parametrize("kind", list(registry), ids=lambda kind: f"{kind.api_version}/{kind.name}")
def test_a_kind_has_a_definition_and_its_verbs(kind: Kind) -> None:
    document = openapi_document()
    definition = document["definitions"][definition_name(kind)]
    assert definition[GVK] == [{"group": kind.group, "version": kind.version, "kind": kind.name}]
    assert {"apiVersion", "kind", "metadata", "status"} <= set(definition["properties"])
    prefix = f"/apis/{kind.api_version}" if kind.group else "/api/v1"
    path = document["paths"][f"{prefix}/{'' if kind.cluster_scoped else 'namespaces/{namespace}/'}{kind.plural}/{{name}}"]
    assert path["patch"][GVK] == definition[GVK][0]
    assert {"dryRun", "fieldValidation"} <= {parameter["name"] for parameter in path["patch"]["parameters"]}, (
        "kubectl asks before it uses them"
    )


def test_every_reference_leads_somewhere_and_no_value_has_several_types() -> None:
    document = openapi_document()
    every = [schema for definition in document["definitions"].values() for schema in schemas(definition)]
    references = {schema["$ref"].removeprefix("#/definitions/") for schema in every if "$ref" in schema}
    assert references <= set(document["definitions"])
    assert all(isinstance(schema["type"], str) for schema in every if "type" in schema), "kubectl cannot read a list of types"
    assert not {"$defs", "const", "allOf", "anyOf", "not"} & {word for schema in every for word in schema if word != "properties"}


def test_what_kubectl_needs_to_patch_ports() -> None:
    definitions = openapi_document()["definitions"]
    ports = definitions["io.k8s.api.core.v1.Service.Service"]["properties"]["ports"]
    assert (ports["x-kubernetes-patch-merge-key"], ports["x-kubernetes-patch-strategy"]) == ("port", "merge")
    target = definitions["io.k8s.api.core.v1.Service.ServicePort"]["properties"]["targetPort"]
    assert target == {"type": "string", "format": "int-or-string"}


def test_the_wire_form_says_the_same() -> None:
    document = openapi_document()
    wire = openapi.Document.FromString(to_wire(document))
    assert [path.name for path in wire.paths.path] == list(document["paths"])
    read = {named.name: named.value for named in wire.definitions.additional_properties}
    assert read.keys() == document["definitions"].keys()
    for name, schema in read.items():
        assert as_json(schema) == comparable(document["definitions"][name]), name


def as_json(schema: openapi.Schema) -> dict[str, Any]:
    """A schema back from the wire."""
    found: dict[str, Any] = {"$ref": schema._ref} if schema._ref else {}
    found |= {name: value for name in ("format", "description") if (value := getattr(schema, name))}
    if schema.required:
        found["required"] = list(schema.required)
    if schema.enum:
        found["enum"] = [msgspec.yaml.decode(value.yaml) for value in schema.enum]
    if schema.HasField("type"):
        (found["type"],) = schema.type.value
    if schema.HasField("items"):
        (inner,) = schema.items.schema
        found["items"] = as_json(inner)
    if schema.HasField("additional_properties"):
        found["additionalProperties"] = as_json(schema.additional_properties.schema)
    if schema.HasField("properties"):
        found["properties"] = {named.name: as_json(named.value) for named in schema.properties.additional_properties}
    return found | {extension.name: msgspec.yaml.decode(extension.value.yaml) for extension in schema.vendor_extension}


def comparable(schema: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, which the wire does not carry."""
    kept = {name: value for name, value in schema.items() if value not in ({}, [], "") or name in ("items", "additionalProperties")}
    for name in ("items", "additionalProperties"):
        if name in kept:
            kept[name] = comparable(kept[name])
    if "properties" in kept:
        kept["properties"] = {name: comparable(value) for name, value in kept["properties"].items()}
    return kept


@pytest.mark.parametrize(
    ("accept", "sent"), [(OLD, NEW), (NEW, NEW), ("application/json", "application/json"), ("*/*", "application/json")]
)
async def test_the_client_chooses_the_form(galley: RunningGalley, accept: str, sent: str) -> None:
    async with galley.rest() as client:
        answer = await client.get("/openapi/v2", headers={"accept": accept, "accept-encoding": "gzip"})
        assert (answer.status_code, answer.headers["content-type"], answer.headers["content-encoding"]) == (200, sent, "gzip")
        if sent == NEW:
            assert openapi.Document.FromString(answer.content).swagger == "2.0"
        else:
            assert answer.json()["swagger"] == "2.0"
        again = {"accept": accept, "if-none-match": answer.headers["etag"]}
        assert (await client.get("/openapi/v2", headers=again)).status_code == 304
        plain = await client.get("/openapi/v2", headers={"accept": accept, "accept-encoding": "identity"})
        assert plain.content == answer.content
        assert len(gzip.compress(plain.content)) < len(plain.content) / 5
    async with galley.rest("") as stranger:
        assert (await stranger.get("/openapi/v2")).status_code == 401
