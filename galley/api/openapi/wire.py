# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document as protobuf, the only form in which kubectl reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from common.proto.openapi import v2_pb2 as openapi

Node = Mapping[str, Any]


def to_wire(document: Node) -> bytes:
    """The serialized `openapi.v2.Document`."""
    return openapi.Document(
        swagger=document["swagger"],
        info=openapi.Info(**document["info"]),
        paths=openapi.Paths(
            path=[
                openapi.NamedPathItem(name=path, value=openapi.PathItem(**{method: _operation(o) for method, o in item.items()}))
                for path, item in document["paths"].items()
            ]
        ),
        definitions=openapi.Definitions(additional_properties=_named(document["definitions"])),
    ).SerializeToString(deterministic=True)


def _named(schemas: Node) -> Iterator[openapi.NamedSchema]:
    for name, schema in schemas.items():
        yield openapi.NamedSchema(name=name, value=_schema(schema))


def _schema(schema: Node) -> openapi.Schema:
    wire = openapi.Schema(
        format=schema.get("format", ""),
        description=schema.get("description", ""),
        required=schema.get("required", ()),
        enum=[_any(value) for value in schema.get("enum", ())],
        vendor_extension=_extensions(schema),
    )
    if reference := schema.get("$ref"):
        wire._ref = reference
    if type_ := schema.get("type"):
        wire.type.value.append(type_)
    if items := schema.get("items"):
        wire.items.schema.append(_schema(items))
    if "additionalProperties" in schema:
        wire.additional_properties.schema.CopyFrom(_schema(schema["additionalProperties"]))
    if properties := schema.get("properties"):
        wire.properties.additional_properties.extend(_named(properties))
    return wire


def _operation(operation: Node) -> openapi.Operation:
    return openapi.Operation(
        operation_id=operation["operationId"],
        produces=operation["produces"],
        consumes=operation["consumes"],
        parameters=[_parameter(parameter) for parameter in operation["parameters"]],
        responses=openapi.Responses(response_code=[_response(code, answer) for code, answer in operation["responses"].items()]),
        vendor_extension=_extensions(operation),
    )


def _parameter(parameter: Node) -> openapi.ParametersItem:
    query = openapi.QueryParameterSubSchema(**parameter)
    return openapi.ParametersItem(
        parameter=openapi.Parameter(non_body_parameter=openapi.NonBodyParameter(query_parameter_sub_schema=query))
    )


def _response(code: str, answer: Node) -> openapi.NamedResponseValue:
    response = openapi.Response(description=answer["description"], schema=openapi.SchemaItem(schema=_schema(answer["schema"])))
    return openapi.NamedResponseValue(name=code, value=openapi.ResponseValue(response=response))


def _extensions(node: Node) -> list[openapi.NamedAny]:
    return [openapi.NamedAny(name=name, value=_any(value)) for name, value in node.items() if name.startswith("x-")]


def _any(value: Any) -> openapi.Any:
    return openapi.Any(yaml=msgspec.json.encode(value).decode())  # JSON is YAML
