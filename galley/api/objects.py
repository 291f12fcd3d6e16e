# SPDX-License-Identifier: Apache-2.0
"""Get, list, create, update, patch and delete, in the shape of the Kubernetes API.

One set of handlers serves every kind and both URL prefixes; what a URL names is found in the registry of kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from common.config.registry import Kind
from common.config.resource import Metadata, ResourceKey
from common.identity.tokens import Caller
from galley.api import render, writing
from galley.api.access import check_read
from galley.api.backend import Backend
from galley.api.body import read_json, read_object
from galley.api.discovery import kind_of
from galley.api.membership import Selection
from galley.api.patches import PATCH_TYPES, PatchError, apply_patch
from galley.api.selectors import field_selector, label_selector
from galley.api.status_object import success
from galley.api.tables import wanted
from galley.api.watch import watch
from galley.errors import BadRequestError, ConflictError, NotFoundError
from galley.store.model import Delete, Put

PATCH_ATTEMPTS = 5
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about."""

    kind: Kind
    namespace: str
    name: str
    caller: Caller

    @classmethod
    def of(cls, request: Request) -> Target:
        """Raises NotFoundError for an unknown kind, or a namespace where there is none."""
        path = request.path_params
        kind = kind_of(path.get("group", ""), path.get("version", "v1"), path["plural"])
        namespace = path.get("namespace", "")
        if namespace and kind.cluster_scoped:
            raise NotFoundError(f"{kind.plural} are not namespaced; leave out /namespaces/{namespace}")
        return cls(kind, namespace, path.get("name", ""), request.state.caller)

    @property
    def key(self) -> ResourceKey:
        if not self.namespace and not self.kind.cluster_scoped:
            raise NotFoundError(f"{self.kind.plural} are namespaced; write /namespaces/NAMESPACE/{self.kind.plural}/{self.name}")
        return ResourceKey(self.kind.collection, self.namespace, self.name)


def object_routes(backend: Backend) -> APIRouter:
    """The routes. The application puts authentication before them."""
    handlers = Objects(backend)
    router = APIRouter()
    routes: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
        ("GET", "{plural}", handlers.list),
        ("POST", "{plural}", handlers.create),
        ("GET", "namespaces/{namespace}/{plural}", handlers.list),
        ("POST", "namespaces/{namespace}/{plural}", handlers.create),
        *(
            (method, f"{scope}{{plural}}/{{name}}", handler)
            for scope in ("", "namespaces/{namespace}/")
            for method, handler in handlers.named()
        ),
        ("GET", "{plural}/{name}/status", handlers.get),
        ("GET", "namespaces/{namespace}/{plural}/{name}/status", handlers.get),
    )
    # Literal paths before patterns: /namespaces/default/status must not be read as the kind "status" in a namespace.
    for method, path, handler in sorted(routes, key=lambda route: (not route[1].endswith("/status"), route[1].count("{"))):
        for prefix in ("/api/v1", "/apis/{group}/{version}"):
            router.add_api_route(f"{prefix}/{path}", handler, methods=[method], response_model=None)
    return router


class Objects:
    """The handlers, one method for each verb."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def named(self) -> tuple[tuple[str, Callable[[Request], Awaitable[Response]]], ...]:
        return (("GET", self.get), ("PUT", self.replace), ("PATCH", self.patch), ("DELETE", self.delete))

    async def get(self, request: Request) -> Response:
        target, parts = Target.of(request), self._backend()
        check_read(target.caller, target.kind, target.namespace)
        found = render.find(parts, target.key)
        if found is None:
            raise NotFoundError(f"{target.key} does not exist", key=target.key)
        if (form := wanted(request)) is not None:
            return Response(render.table_of(parts, form, target.kind, [found]), media_type=JSON_TYPE)
        return Response(found[1], media_type=JSON_TYPE)

    async def list(self, request: Request) -> Response:
        target, parts = Target.of(request), self._backend()
        keep, form = _filter(request, target), wanted(request)
        if request.query_params.get("watch") in ("1", "true"):
            return watch(request, parts, target.kind, keep, self._backend.stopping, form)
        kept = [pair for pair in render.objects(parts, target.kind) if keep(pair[0].metadata)]
        if form is not None:
            return Response(render.table_of(parts, form, target.kind, kept), media_type=JSON_TYPE)
        version = render.version_of(parts, target.kind)
        return Response(render.list_document(target.kind, version, (body for _, body in kept)), media_type=JSON_TYPE)

    async def create(self, request: Request) -> Response:
        target = Target.of(request)
        document = await read_object(request)
        namespace = target.namespace or _namespace_in(document)
        resource = writing.admit_for(self._backend, document, target.kind, namespace if not target.kind.cluster_scoped else "")
        writing.check(self._backend, target.caller, target.kind, resource.key, resource)
        return await self._write(request, target, Put(resource=resource, must_exist=False), code=201)

    async def replace(self, request: Request) -> Response:
        target, document = Target.of(request), await read_object(request)
        resource = writing.admit_for(self._backend, document, target.kind, target.key.namespace, target.name)
        writing.check(self._backend, target.caller, target.kind, resource.key, resource)
        return await self._write(request, target, Put(resource=resource, must_exist=True, expected=resource.metadata.resourceVersion))

    async def patch(self, request: Request) -> Response:
        target = Target.of(request)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if media_type not in PATCH_TYPES:
            raise HTTPException(415, f"cannot apply a patch of type {media_type!r}; send one of {', '.join(PATCH_TYPES)}")
        patch = await read_json(request)
        # Before the object is touched: whether a patch (or its `test`) fits tells what is in it.
        writing.check(self._backend, target.caller, target.kind, target.key, None)
        for attempt in range(1, PATCH_ATTEMPTS + 1):
            stored = self._backend().store.snapshot.get(target.key)
            if stored is None:
                raise NotFoundError(f"{target.key} does not exist", key=target.key)
            try:
                document = apply_patch(media_type, target.kind, msgspec.json.decode(stored.body), patch)
            except PatchError as error:
                raise BadRequestError(str(error)) from error
            resource = writing.admit_for(self._backend, document, target.kind, target.key.namespace, target.name)
            writing.check(self._backend, target.caller, target.kind, target.key, resource)
            asked = resource.metadata.resourceVersion  # the present one, unless the patch itself names another
            try:
                return await self._write(request, target, Put(resource=resource, must_exist=True, expected=asked))
            except ConflictError:
                if attempt == PATCH_ATTEMPTS or asked != str(stored.revision):
                    raise
        raise AssertionError("unreachable")

    async def delete(self, request: Request) -> Response:
        target = Target.of(request)
        options: dict[str, Any] = await read_object(request) if request.headers.get("content-length", "0") != "0" else {}
        preconditions = options.get("preconditions") or {}
        writing.check(self._backend, target.caller, target.kind, target.key, None)
        intent = Delete(key=target.key, expected=str(preconditions.get("resourceVersion", "")), uid=str(preconditions.get("uid", "")))
        dry_run = writing.is_dry_run(request) or bool(options.get("dryRun"))
        (outcome,) = await writing.write(request, self._backend, target.caller, [intent], dry_run=dry_run)
        uid = outcome.stored.resource.metadata.uid if outcome.stored else ""
        return JSONResponse(success({"name": target.name, "group": target.kind.group, "kind": target.kind.plural, "uid": uid}))

    async def _write(self, request: Request, target: Target, intent: Put, *, code: int = 200) -> Response:
        dry_run = writing.is_dry_run(request)
        (outcome,) = await writing.write(request, self._backend, target.caller, [intent], dry_run=dry_run)
        if outcome.stored is None:
            raise AssertionError("a written object is always there")
        body = render.as_if(self._backend(), outcome.stored) if dry_run else render.with_status(self._backend(), outcome.stored)
        return Response(body, code, writing.warnings(intent.resource), media_type=JSON_TYPE)


def _namespace_in(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    return namespace if isinstance(namespace, str) and namespace else writing.DEFAULT_NAMESPACE


def _filter(request: Request, target: Target) -> Selection:
    """Which objects the caller asked for and may see. A list over all namespaces shows a bounded caller its own."""
    if target.namespace:
        check_read(target.caller, target.kind, target.namespace)
    labels, fields = request.query_params.get("labelSelector", ""), request.query_params.get("fieldSelector", "")
    by_field = field_selector(fields)
    caller, namespace, anyone = target.caller, target.namespace, target.kind.name == "Namespace"

    def scope(metadata: Metadata) -> bool:
        if namespace and metadata.namespace != namespace:
            return False
        return (anyone or caller.may_read(metadata.namespace)) and by_field(metadata)

    return Selection(scope, label_selector(labels) if labels else None)
