# SPDX-License-Identifier: Apache-2.0
"""What a caller may do. Roles come from Citadel's token; which objects need the admin is decided here.

Some kinds can run code in Envoy, write files or send data out of the mesh: only admins write those, in any namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from common.config.kinds.legacy_mixer import LegacyHandler
from common.config.kinds.mixer import Handler
from common.config.registry import Kind
from common.config.resource import Resource, ResourceKey
from common.identity.tokens import Caller
from common.mesh.names import ROOT_NAMESPACE
from galley.errors import ForbiddenError

ADMIN_KINDS = frozenset({"EnvoyFilter", "MeshConfig", "adapter", "attributemanifest", "template"})
"""The vocabulary is the mesh's, whoever declares it: an `attributemanifest` that gives `source.namespace` another type unmakes every rule."""

SOCKET_KINDS = frozenset({"Endpoints", "ServiceEntry", "Sidecar", "WorkloadEntry"})
"""Kinds in which an address may be a Unix socket. At every proxy that routes there, a gateway too, this can be Envoy's own admin socket, or the
one that hands out its private key."""

INWARD_ADAPTERS = frozenset(
    {"bypass", "checknothing", "denier", "list", "listchecker", "memquota", "noop", "prometheus", "rbac", "reportnothing", "stdio"}
)
"""Adapters that neither write files nor connect anywhere, as long as they have none of the parameters below."""
OUTWARD_PARAMS = frozenset({"providerUrl", "provider_url", "outputPath", "output_path", "url", "address"})
CONSOLE_STREAMS = frozenset({"", "STDOUT", "STDERR", "0", "1"})


def check_read(caller: Caller, kind: Kind, namespace: str) -> None:
    """Raises ForbiddenError unless the caller may see objects of this namespace ("" for cluster-scoped ones)."""
    if not (caller.may_read(namespace) or kind.name == "Namespace"):
        scope = f"namespace {namespace}" if namespace else "cluster-scoped objects"
        raise ForbiddenError(f"{caller.name} ({caller.role} of {', '.join(sorted(caller.namespaces))}) may not read {scope}")


def check_write(caller: Caller, kind: Kind, key: ResourceKey, *objects: Resource[Any] | None) -> None:
    """Raises ForbiddenError unless the caller may write `key`. Hand in the object as it is and as it shall be: both count."""
    if caller.role == "admin":
        return
    need = ""
    if caller.role == "viewer":
        need = "the role editor"
    elif kind.name in ADMIN_KINDS:
        need = f"the role admin, because a {kind.name} can run code, reach out of the mesh or change it for everybody"
    elif key.namespace in ("", ROOT_NAMESPACE):
        need = f"the role admin, because it changes the whole mesh ({ROOT_NAMESPACE} or cluster scope)"
    elif any(has_outputs(handler) for handler in _handlers(objects)):
        need = "the role admin, because this handler writes files or connects to other hosts"
    elif kind.name in SOCKET_KINDS and any(has_sockets(msgspec.to_builtins(resource.spec)) for resource in objects if resource is not None):
        need = "the role admin, because a Unix socket can be one that belongs to a proxy"
    elif not caller.may_edit(key.namespace):
        need = f"an editor of namespace {key.namespace}"
    if need:
        raise ForbiddenError(f"{caller.name} ({caller.role}) may not write {key}; it takes {need}", key=key)


def _handlers(objects: Iterable[Resource[Any] | None]) -> Iterator[Handler]:
    """What among these is a handler, also in the spelling of the kinds that each adapter once had."""
    for resource in objects:
        if resource is not None and isinstance(resource.spec, Handler):
            yield resource.spec
        elif resource is not None and isinstance(resource.spec, LegacyHandler):
            yield Handler(compiledAdapter=resource.kind.name, params=resource.spec.params)


def has_outputs(handler: Handler) -> bool:
    """Whether a handler may write outside of Mixer. What is not known to stay inside is taken to reach out."""
    if handler.connection is not None or (handler.compiledAdapter or handler.adapter) not in INWARD_ADAPTERS:
        return True
    streams = {str(handler.params.get(name, "")) for name in ("logStream", "log_stream")}
    return not streams <= CONSOLE_STREAMS or bool(_keys(handler.params) & OUTWARD_PARAMS)


def has_sockets(value: Any) -> bool:
    """Whether any text in a plain value is the address of a Unix socket."""
    if isinstance(value, str):
        return value.lower().startswith("unix:")
    if isinstance(value, Mapping):
        return any(map(has_sockets, value.values()))
    return isinstance(value, list | tuple) and any(map(has_sockets, value))


def _keys(value: Any) -> frozenset[str]:
    if isinstance(value, Mapping):
        return frozenset(value).union(*(_keys(inner) for inner in value.values())) if value else frozenset()
    if isinstance(value, list | tuple):
        return frozenset().union(*(_keys(inner) for inner in value))
    return frozenset()
