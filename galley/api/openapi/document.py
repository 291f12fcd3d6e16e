# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 2.0 document, derived from the registry of kinds and their schemas.

OpenAPI 2.0 as Kubernetes reads it knows less than JSON Schema: one type for each value, no oneof. What it cannot say is left open here
and checked by Galley itself when the object arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from common.config.registry import Kind, registry
from common.config.schema import schema_for
from galley.api.patches import MERGE_KEYS, PATCH_TYPES

Document = dict[str, Any]

GVK: Final = "x-kubernetes-group-version-kind"
META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
JSON: Final = "application/json"

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_FREE: Final = {"type": "object"}
_OBJECT_META: Final[Document] = {
    "description": "Name, labels and annotations, which you write; the rest is the server's.",
    "type": "object",
    "properties": {
        "name": {**_TEXT, "description": "Unique among the objects of this kind in the namespace."},
        "namespace": {**_TEXT, "description": "Where the object is; empty for cluster-scoped kinds."},
        "labels": {**_TEXTS, "description": "By which selectors find the object."},
        "annotations": {**_TEXTS, "description": "Notes for people and tools."},
        "creationTimestamp": {**_TEXT, "format": "date-time", "description": "Set by the server."},
        "generation": {"type": "integer", "format": "int64", "description": "Grows when the specification changes; set by the server."},
        "resourceVersion": {
            **_TEXT,
            "description": "Changes with every write. Sent back, it protects against overwriting another's change.",
        },
        "uid": {**_TEXT, "description": "Set by the server."},
        "generateName": _TEXT,
        "selfLink": _TEXT,
        "clusterName": _TEXT,
        "deletionTimestamp": {**_TEXT, "format": "date-time"},
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "finalizers": {"type": "array", "items": _TEXT},
        "managedFields": {"type": "array", "items": _FREE},
        "ownerReferences": {"type": "array", "items": _FREE},
    },
}
_ENVELOPE: Final[Document] = {
    "apiVersion": {**_TEXT, "description": "Group and version of the schema of this document."},
    "kind": {**_TEXT, "description": "What this document describes."},
    "metadata": {"$ref": f"#/definitions/{META}.ObjectMeta"},
    "status": {**_FREE, "description": "What became of the object: conditions, findings. Written by the control plane."},
}


def openapi_document() -> Document:
    """Everything about every registered kind. Computed once; do not change it."""
    return _document(tuple(registry))


@cache
def _document(kinds: tuple[Kind, ...]) -> Document:
    definitions: Document = {f"{META}.ObjectMeta": _OBJECT_META}
    paths: Document = {}
    for kind in sorted(kinds, key=lambda k: (k.group, k.version, k.name)):
        definitions |= _definitions(kind)
        paths |= _paths(kind)
    return {
        "swagger": "2.0",
        "info": {"title": "Galley", "version": "v1"},
        "paths": paths,
        "definitions": definitions,
    }


def definition_name(kind: Kind) -> str:
    """`io.istio.networking.v1alpha3.VirtualService`; `io.k8s.api.core.v1.Service`."""
    domain = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{domain}.{kind.version}.{kind.name}"


def _definitions(kind: Kind) -> Iterable[tuple[str, Document]]:
    name, schema = definition_name(kind), schema_for(kind)
    gvk = [{"group": kind.group, "kind": kind.name, "version": kind.version}]
    spec = schema["$defs"][kind.spec.__name__]
    own = {field: value for field, value in schema["properties"].items() if field not in _ENVELOPE}
    root: Document = {
        "type": "object",
        "description": spec.get("description") or kind.name,
        "properties": {**_ENVELOPE, **{field: _converted(value, name) for field, value in own.items()}},
        GVK: gvk,
    }
    yield name, root
    for struct, definition in schema["$defs"].items():
        required = {"required": definition["required"]} if "required" in definition else {}
        properties = {"properties": _properties(kind, struct, definition)}
        yield f"{name}.{struct}", _converted(definition, name) | properties | required
    items = {"type": "array", "items": {"$ref": f"#/definitions/{name}"}}
    envelope = {key: _ENVELOPE[key] for key in ("apiVersion", "kind")}
    yield (
        f"{name}List",
        {
            "type": "object",
            "description": f"Objects of kind {kind.name}.",
            "properties": {**envelope, "metadata": _FREE, "items": items},
            "required": ["items"],
            GVK: [{**gvk[0], "kind": f"{kind.name}List"}],
        },
    )


def _properties(kind: Kind, struct: str, definition: Mapping[str, Any]) -> Document:
    properties = {}
    for field, value in definition.get("properties", {}).items():
        properties[field] = _converted(value, definition_name(kind))
        path = f"{kind.payload_field}.{field}" if struct == kind.spec.__name__ else ""
        if key := MERGE_KEYS.get((kind.collection, path)):
            properties[field] |= {"x-kubernetes-patch-merge-key": key, "x-kubernetes-patch-strategy": "merge"}
    return properties


def _converted(schema: Mapping[str, Any], prefix: str) -> Document:
    """One schema in OpenAPI's words. Without a type anything is allowed."""
    if reference := schema.get("$ref"):
        return {"$ref": f"#/definitions/{prefix}.{reference.rpartition('/')[2]}"}
    described: Document = {"description": schema["description"]} if schema.get("description") else {}
    match schema.get("type"):
        case "object":
            values = schema.get("additionalProperties")
            return {"type": "object"} | described | ({"additionalProperties": _converted(values, prefix)} if values else {})
        case "array":
            return {"type": "array", "items": _converted(schema["items"], prefix)} | described
        case "integer":
            return {"type": "integer", "format": "int64"} | described
        case "number":
            return {"type": "number", "format": "double"} | described
        case "string":
            return dict(_TEXT) | ({"enum": schema["enum"]} if "enum" in schema else {}) | described
        case "boolean":
            return {"type": "boolean"} | described
        case list() as several if set(several) == {"integer", "string"}:
            return {"type": "string", "format": "int-or-string"} | described
    return described


def _paths(kind: Kind) -> Document:
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    base += "/" if kind.cluster_scoped else "/namespaces/{namespace}/"
    collection = f"{base}{kind.plural}"
    one, many = definition_name(kind), f"{definition_name(kind)}List"
    paths = {
        collection: {"get": _operation(kind, "list", many), "post": _operation(kind, "create", one)},
        f"{collection}/{{name}}": {
            "get": _operation(kind, "get", one),
            "put": _operation(kind, "replace", one),
            "patch": _operation(kind, "patch", one) | {"consumes": [t for t in PATCH_TYPES if t != JSON]},
            "delete": _operation(kind, "delete", one),
        },
    }
    if not kind.cluster_scoped:
        paths[f"{base.partition('namespaces/')[0]}{kind.plural}"] = {"get": _operation(kind, "list", many)}
    return paths


def _operation(kind: Kind, action: str, definition: str) -> Document:
    group = "".join(part.capitalize() for part in (kind.group or "core").split("."))
    return {
        "operationId": f"{action}{group}{kind.version.capitalize()}{kind.name}",
        "produces": [JSON],
        "consumes": [JSON],
        "parameters": [_query(name, text) for name, text in _QUERIES[action].items()],
        "responses": {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{definition}"}}},
        "x-kubernetes-action": "put" if action == "replace" else action,
        GVK: {"group": kind.group, "kind": kind.name, "version": kind.version},
    }


def _query(name: str, text: str) -> Document:
    return {"name": name, "in": "query", "type": "string", "description": text}


_WRITING: Final = {
    "dryRun": "All: validate and answer as if, but store nothing.",
    "fieldManager": "Who writes. Ignored.",
    "fieldValidation": "Ignored: unknown fields are refused, unless Galley was told to be lenient.",
}
_READING: Final = {
    "labelSelector": "Only objects whose labels match.",
    "fieldSelector": "Only objects whose metadata.name or metadata.namespace matches.",
    "watch": "true: go on with what changes.",
    "resourceVersion": "Where a watch begins.",
}
_QUERIES: Final[Mapping[str, Mapping[str, str]]] = {
    "list": _READING,
    "get": {},
    "create": _WRITING,
    "replace": _WRITING,
    "patch": _WRITING,
    "delete": {"dryRun": _WRITING["dryRun"]},
}
