# SPDX-License-Identifier: Apache-2.0
"""What kinds there are, in the form that kubectl and client libraries ask for before anything else."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter

import common.config.kinds  # noqa: F401 - registers every kind
from common.config.registry import Kind, registry
from galley.errors import NotFoundError

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
OWN_GROUP, OWN_VERSION = "fourmast.io", "v1"


def kind_of(group: str, version: str, plural: str) -> Kind:
    """The kind that a URL names. Raises NotFoundError."""
    kind = _by_path().get((group, version, plural))
    if kind is None:
        raise NotFoundError(f"the server has no resource {plural!r} in {group + '/' if group else ''}{version}")
    return kind


@cache
def _by_path() -> Mapping[tuple[str, str, str], Kind]:
    return {(kind.group, kind.version, kind.plural): kind for kind in registry}


def categories(kind: Kind) -> list[str]:
    """What `kubectl get istio-io` and the like include: Istio 1.4's categories."""
    if not kind.group.endswith("istio.io"):
        return ["all"] if kind.name == "Service" else []
    area = kind.group.partition(".")[0]
    return ["istio-io", f"{'policy' if area == 'config' else area}-istio-io"]


def discovery_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/api")
    async def core_versions() -> dict[str, Any]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}

    @router.get("/apis")
    async def groups() -> dict[str, Any]:
        # Not our own group: it has no objects, and clients take a version without objects for an outage.
        names = sorted({kind.group for kind in registry if kind.group})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in names]}

    @router.get("/api/v1")
    async def core_resources() -> dict[str, Any]:
        return _resources("", "v1")

    @router.get("/apis/{group}")
    async def group(group: str) -> dict[str, Any]:
        if group != OWN_GROUP and not any(kind.group == group for kind in registry):
            raise NotFoundError(f"the server has no API group {group!r}")
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}

    @router.get("/apis/{group}/{version}")
    async def resources(group: str, version: str) -> dict[str, Any]:
        if (group, version) != (OWN_GROUP, OWN_VERSION) and not any((k.group, k.version) == (group, version) for k in registry):
            raise NotFoundError(f"the server has no API {group}/{version}")
        return _resources(group, version)

    return router


def version_document() -> dict[str, str]:
    """Kubernetes' version form: the major and minor say which API conventions we follow, gitVersion says who we are."""
    ours = importlib.metadata.version("fourmast-common")
    return {
        "major": "1",
        "minor": "16",
        "gitVersion": f"v1.16.0-fourmast.{ours}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"linux/{platform.machine()}",
    }


def _group(name: str) -> dict[str, Any]:
    versions = sorted({kind.version for kind in registry if kind.group == name}) or [OWN_VERSION]
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[-1]}


def _resources(group: str, version: str) -> dict[str, Any]:
    entries = []
    for kind in sorted(registry, key=lambda k: k.plural):
        if (kind.group, kind.version) != (group, version):
            continue
        common = {"namespaced": not kind.cluster_scoped, "kind": kind.name}
        names = {"name": kind.plural, "singularName": kind.singular, "shortNames": list(kind.short_names)}
        entries.append({**names, **common, "verbs": VERBS, "categories": categories(kind)})
        entries.append({"name": f"{kind.plural}/status", "singularName": "", **common, "verbs": ["get"]})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}" if group else version, "resources": entries}
