# SPDX-License-Identifier: Apache-2.0
"""`mesh.yaml`: what runs in a one-machine mesh. It names processes; services and traffic rules are ordinary Istio configuration.

    name: bookinfo                  # [a-z0-9-], at most 12 characters: it becomes part of interface names
    mode: auto                      # auto (probe and say which) | netns | none
    controlPlane: split             # split (four processes) | istiod (one)
    config: [services.yaml, gateway.yaml]   # applied through Galley at start, in this order; relative to this file
    workloads:
    - name: reviews-v1
      namespace: default
      serviceAccount: bookinfo-reviews
      command: [python, -m, deploy.samples.bookinfo.reviews]  # `python` first is the interpreter that runs fourmast
      env: {SERVICE_VERSION: v1}
      labels: {app: reviews, version: v1}
      ports: {http: 9080}           # what the application listens on; becomes WorkloadEntry.spec.ports
      health: {http: {path: /health, port: 9080}}     # or {tcp: {port: 9080}}; absent: healthy when the process runs
      replicas: 1                   # more than one: reviews-v1-1, reviews-v1-2, …
      sidecar: true                 # false: outside the mesh, a legacy client or server
      concurrency: 1                # Envoy's worker threads
      locality: region/zone/subzone
    - name: istio-ingressgateway
      namespace: istio-system
      serviceAccount: istio-ingressgateway-service-account
      type: router
      labels: {istio: ingressgateway}
      expose: [{port: 8080, hostPort: 0}]   # host loopback -> this workload; 0 takes a free port and reports it

Every application gets `BIND_HOST`, the address to listen on. In *none* mode it also gets `OUTBOUND_HOST`, the address of its sidecar's
outbound listeners: it connects there, on the service's port, and names the service in the Host header. In *netns* mode `OUTBOUND_HOST`
is not set: service names resolve and connections are intercepted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec
import yaml

Mode = Literal["auto", "netns", "none"]
ControlPlane = Literal["split", "istiod"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MAX_MESH_NAME = 12
_MAX_NAME = 63  # a DNS label, as everywhere in Istio


class MeshFileError(Exception):
    """The mesh file cannot be used; the message names the file, the field and what is expected there."""


class HttpCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Healthy when `GET path` answers 200-399."""

    port: int
    path: str = "/"


class TcpCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Healthy when the port accepts a connection."""

    port: int


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the sidecar learns whether its application is healthy. One of http and tcp."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    intervalSeconds: float = 0.5
    timeoutSeconds: float = 1.0


class Expose(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port of the workload that the launcher offers on the host's loopback."""

    port: int
    hostPort: int = 0


class WorkloadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One application with its sidecar, or a gateway, or (`sidecar: false`) a process outside the mesh."""

    name: str
    namespace: str = "default"
    serviceAccount: str = "default"
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    labels: dict[str, str] = {}
    ports: dict[str, int] = {}
    health: HealthCheck | None = None
    replicas: int = 1
    sidecar: bool = True
    concurrency: int = 1
    type: Literal["sidecar", "router"] = "sidecar"
    expose: tuple[Expose, ...] = ()
    locality: str = ""


class MeshFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole one-machine mesh."""

    name: str
    mode: Mode = "auto"
    controlPlane: ControlPlane = "split"
    config: tuple[str, ...] = ()
    workloads: tuple[WorkloadSpec, ...] = ()


def load(path: Path) -> MeshFile:
    """Read and check a mesh file. Raises MeshFileError."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MeshFileError(f"{path} is not there; give the mesh file as in `fourmast up deploy/samples/bookinfo/mesh.yaml`") from error
    except OSError as error:
        raise MeshFileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MeshFileError(f"{path}: not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise MeshFileError(f"{place}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise MeshFileError(f"{path}: {error}") from error
    for document in documents:
        if isinstance(document, dict) and "apiVersion" in document and "kind" in document:
            kind = document["kind"]
            raise MeshFileError(f"{path}: this is configuration ({kind}), no mesh; start a mesh, then `fourmast apply -f {path}`")
    if len(documents) != 1:
        raise MeshFileError(f"{path}: expected one mesh, found {len(documents)} documents")
    return parse(documents[0], source=str(path))


def parse(document: object, *, source: str = "mesh.yaml") -> MeshFile:
    """A mesh file from plain values. Raises MeshFileError naming `source` and the field."""
    try:
        mesh = msgspec.convert(document, MeshFile)
    except msgspec.ValidationError as error:
        raise MeshFileError(f"{source}: {error}") from error
    for problem in _problems(mesh):
        raise MeshFileError(f"{source}: {problem}")
    return mesh


def _problems(mesh: MeshFile) -> list[str]:
    problems = []
    if not _NAME.fullmatch(mesh.name) or len(mesh.name) > _MAX_MESH_NAME:
        problems.append(f"name: {mesh.name!r} must be lower-case letters, digits and '-', at most {_MAX_MESH_NAME} characters")
    seen: dict[str, int] = {}
    for index, workload in enumerate(mesh.workloads):
        where = f"workloads[{index}]"
        for field, value in (("name", workload.name), ("namespace", workload.namespace), ("serviceAccount", workload.serviceAccount)):
            if not _NAME.fullmatch(value) or len(value) > _MAX_NAME:
                problems.append(f"{where}.{field}: {value!r} is not a DNS label")
        if workload.name in seen:
            problems.append(
                f"{where}.name: {workload.name!r} is already the name of workloads[{seen[workload.name]}]; use replicas, or another name"
            )
        seen.setdefault(workload.name, index)
        if workload.replicas < 1:
            problems.append(f"{where}.replicas: expected at least 1, found {workload.replicas}")
        if workload.concurrency < 1:
            problems.append(f"{where}.concurrency: expected at least 1, found {workload.concurrency}")
        if workload.type == "router" and not workload.sidecar:
            problems.append(f"{where}.sidecar: a router is an Envoy; it cannot be without one")
        if workload.type == "router" and workload.command:
            problems.append(f"{where}.command: a router runs no application")
        if workload.health is not None and (workload.health.http is None) == (workload.health.tcp is None):
            problems.append(f"{where}.health: set exactly one of http and tcp")
        ports = [(f"ports.{name}", port) for name, port in workload.ports.items()]
        ports += [(f"expose[{i}].port", expose.port) for i, expose in enumerate(workload.expose)]
        if workload.health is not None:
            ports += [
                (f"health.{kind}.port", check.port)
                for kind, check in (("http", workload.health.http), ("tcp", workload.health.tcp))
                if check
            ]
        problems += [f"{where}.{field}: {port} is not a port (1-65535)" for field, port in ports if not 0 < port < 65536]
        if workload.replicas > 1 and any(expose.hostPort for expose in workload.expose):
            problems.append(f"{where}.expose: replicas cannot share a fixed hostPort; use 0")
    return problems
