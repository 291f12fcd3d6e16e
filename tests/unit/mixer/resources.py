# SPDX-License-Identifier: Apache-2.0
"""Mixer's configuration in short form, and what a snapshot is built with in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import common.config.kinds  # noqa: F401 - registers the kinds
from common.config.resource import Resource, from_document
from mixer.adapters.contract import Environment
from mixer.rules.builder import SnapshotBuilder
from mixer.rules.snapshot import Snapshot


def resource(kind: str, name: str, spec: dict[str, Any], *, namespace: str = "default", version: str = "1") -> Resource[Any]:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": version}
    return from_document({"apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": metadata, "spec": spec})


def handler(name: str, adapter: str, params: dict[str, Any] | None = None, **metadata: str) -> Resource[Any]:
    return resource("handler", name, {"compiledAdapter": adapter, "params": params or {}}, **metadata)


def instance(name: str, template: str, params: dict[str, Any] | None = None, **metadata: str) -> Resource[Any]:
    return resource("instance", name, {"compiledTemplate": template, "params": params or {}}, **metadata)


def rule(name: str, match: str, *actions: tuple[str, str], headers: list[dict[str, Any]] | None = None, **metadata: str) -> Resource[Any]:
    spec = {"match": match, "actions": [{"handler": to, "instances": [what]} for to, what in actions]}
    return resource("rule", name, spec | ({"requestHeaderOperations": headers} if headers else {}), **metadata)


def denial(message: str, *, code: int = 7, duration: str = "5s", uses: int = 1000) -> dict[str, Any]:
    return {"status": {"code": code, "message": message}, "validDuration": duration, "validUseCount": uses}


def load(path: str) -> list[Resource[Any]]:
    """Mixer's resources of a sample file."""
    documents = yaml.safe_load_all(Path(path).read_text(encoding="utf-8"))
    return [from_document(each) for each in documents if each["apiVersion"].startswith("config.istio.io")]


def environment(clock: Callable[[], float] = time.monotonic, **more: Any) -> Environment:
    return Environment(clock=clock, wall=lambda: 1_500_000_000.0, **more)


def snapshot_of(*resources: Resource[Any], within: Environment | None = None) -> Snapshot:
    return SnapshotBuilder(within or environment()).build(resources, Snapshot())
