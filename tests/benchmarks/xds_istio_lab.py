# SPDX-License-Identifier: Apache-2.0
"""Istio's own istiod, to measure beside Pilot: a `pilot-discovery` that someone built, its configuration as files in a temporary folder, and
an empty Kubernetes API, without which today's istiod does not start whatever its configuration comes from.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from envoy.config.core.v3.base_pb2 import Node

from common.mesh.names import ROOT_NAMESPACE
from tests.benchmarks.xds_clients.mesh import NETWORKING, Document, Mesh, address
from tests.benchmarks.xds_lab import SERVER_CORE

START, STOP = 90.0, 15.0  # seconds
SETTLE = 3.0  # seconds after it says that it is ready: it still pushes to nobody what it has just read
MESH_LATER = 0.15
"""Seconds by which a MeshConfig is written later than the documents beside it: istiod waits 250 ms after a change in a folder and 100 ms after
one of its mesh file, and written at once the two would cost it two pushes."""
CONDITIONS = {"GOMAXPROCS": "1", "PILOT_MAX_REQUESTS_PER_SECOND": "10000"}
"""What is not default and matters: one core, as Pilot has, and no limit on new streams, which for one core would be all that is measured."""
WITHOUT_A_CLUSTER = {
    "POD_NAME": "istiod-bench",
    "POD_NAMESPACE": ROOT_NAMESPACE,
    "PILOT_CERT_PROVIDER": "none",
    "ENABLE_CA_SERVER": "false",
    "XDS_AUTH": "false",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION": "false",
}
KINDS = {
    "configmaps": "ConfigMap",
    "customresourcedefinitions": "CustomResourceDefinition",
    "endpointslices": "EndpointSlice",
    "ingressclasses": "IngressClass",
    "ingresses": "Ingress",
    "leases": "Lease",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "secrets": "Secret",
    "services": "Service",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
}
_DEPENDENCY = re.compile(rb"\n(?:mod|dep)\tistio\.io/istio\t([^\t\n]+)")
_DEBOUNCED = re.compile(r"Push debounce stable.* ([\d.]+)(µs|ms|s) since last push")
_UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


# -- the mesh as istiod's files -----------------------------------------------------------------------------------------------------


def documents(mesh: Mesh) -> Iterator[Document]:
    """The mesh's own, with a ServiceEntry in place of each Service: istiod takes those only from a cluster."""
    for document in mesh.documents():
        yield _service_entry(document) if document["kind"] == "Service" else document


def _service_entry(service: Document) -> Document:
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    spec = {
        "hosts": [f"{name}.{namespace}.svc.cluster.local"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [
            {"number": port["port"], "targetPort": port["port"], "name": port["name"], "protocol": "HTTP"}
            for port in service["spec"]["ports"]
        ],
        "workloadSelector": {"labels": service["spec"]["selector"]},
    }
    return {"apiVersion": NETWORKING, "kind": "ServiceEntry", "metadata": service["metadata"], "spec": spec}


def node(mesh: Mesh, number: int) -> Node:
    """The mesh's proxy at the address of its service's second endpoint, by which istiod knows what is inbound for it."""
    found, service = mesh.node(number), mesh.service(number % mesh.services)
    own = address(service.number * mesh.endpoints + 1)
    found.id = f"sidecar~{own}~proxy-{number}.{service.namespace}~{service.namespace}.svc.cluster.local"
    found.metadata.update({"ISTIO_VERSION": "1.30.0", "INSTANCE_IPS": own, "CLUSTER_ID": "Kubernetes", "INTERCEPTION_MODE": "REDIRECT"})
    return found


class Files:
    """What will change is in a folder of its own, a file for each document: istiod reads all of a folder again when one file changes."""

    def __init__(self, folder: Path, mesh: Mesh, changing: Sequence[Document]) -> None:
        self._folder, self._still, self._moving = folder, folder / "still", folder / "moving"
        self.mesh_config = folder / "mesh.yaml"
        self._still.mkdir()
        self._moving.mkdir()
        moving, namespaces = {_file_name(document) for document in changing}, defaultdict(list)
        for document in documents(mesh):
            if _file_name(document) not in moving:
                namespaces[document["metadata"]["namespace"]].append(document)
        for namespace, its_own in namespaces.items():
            (self._still / f"{namespace}.yaml").write_text("---\n".join(json.dumps(document) + "\n" for document in its_own))
        self._write_mesh({})
        self.apply(changing)

    def apply(self, changed: Iterable[Document]) -> None:
        later = None
        for document in changed:
            if document["kind"] == "MeshConfig":
                later = document["spec"]
            else:
                self._write(self._moving / _file_name(document), document)
        if later is not None:
            time.sleep(MESH_LATER)
            self._write_mesh(later)

    def _write_mesh(self, spec: dict[str, Any]) -> None:
        sources = [{"address": f"fs://{folder}"} for folder in (self._still, self._moving)]
        self._write(self.mesh_config, {"configSources": sources, "rootNamespace": ROOT_NAMESPACE, "trustDomain": "cluster.local", **spec})

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        """At once, so that it never reads a half."""
        new = self._folder / "new"
        new.write_text(json.dumps(content) + "\n")
        new.replace(path)


def _file_name(document: Document) -> str:
    return f"{document['kind']}-{document['metadata']['namespace']}-{document['metadata']['name']}.yaml"


# -- an empty cluster ---------------------------------------------------------------------------------------------------------------


class EmptyKubernetes(ThreadingHTTPServer):
    """Kubernetes' API in a thread: lists are empty, watches stay silent, what is written is taken and forgotten."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _EmptyAnswers)
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> EmptyKubernetes:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever leaves while we wait for it is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def kubeconfig(self, path: Path) -> Path:
        named = {
            "clusters": [{"name": "empty", "cluster": {"server": self.url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "empty", "context": {"cluster": "empty", "user": "nobody"}}],
        }
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **named, "current-context": "empty"}))
        return path


class _EmptyAnswers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query, parts = parse_qs(url.query), url.path.strip("/").split("/")
        version, kind = "v1" if parts[0] == "api" else "/".join(parts[1:3]), KINDS.get(parts[-1])
        if kind is None:  # one object, which is not there
            self._answer(404, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
            return
        if "as=PartialObjectMetadata" in self.headers.get("Accept", ""):
            version, kind = "meta.k8s.io/v1", "PartialObjectMetadata"
        if query.get("watch") in (["true"], ["1"]):
            self._watch(version, kind, told_what_is_there=query.get("sendInitialEvents") == ["true"])
        else:
            self._answer(200, {"apiVersion": version, "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": []})

    def do_POST(self) -> None:
        self._answer(201 if self.command == "POST" else 200, json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0)))))

    do_PUT = do_PATCH = do_POST

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, version: str, kind: str, *, told_what_is_there: bool) -> None:
        """Say, if wanted, that everything there was has been told; then nothing more until the server closes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if told_what_is_there:
            metadata = {"resourceVersion": "1", "creationTimestamp": None, "annotations": {"k8s.io/initial-events-end": "true"}}
            event = {"type": "BOOKMARK", "object": {"apiVersion": version, "kind": kind, "metadata": metadata}}
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        assert isinstance(self.server, EmptyKubernetes)
        self.server.closing.wait()
        self.close_connection = True


# -- istiod -------------------------------------------------------------------------------------------------------------------------


class Istiod:
    """Use as a context manager; everything is gone afterwards. Its log is a file, so that reading it costs nobody time while it works."""

    def __init__(self, binary: Path, mesh: Mesh, changing: Sequence[Document]) -> None:
        self._binary, self._mesh, self._changing = binary.resolve(), mesh, changing
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Istiod:
        with self._stack:
            folder = Path(tempfile.mkdtemp(prefix="fourmast-istiod-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._files = Files(folder, self._mesh, self._changing)
            kubernetes = self._stack.enter_context(EmptyKubernetes())
            grpc, http, monitoring = _free_ports(3)
            self.address = ("127.0.0.1", grpc)
            options = {
                "registries": "Kubernetes",
                "kubeconfig": kubernetes.kubeconfig(folder / "kubeconfig"),
                "meshConfig": self._files.mesh_config,
                "networksConfig": folder / "no-networks",
                "grpcAddr": f"127.0.0.1:{grpc}",
                "secureGRPCAddr": "",
                "httpAddr": f"127.0.0.1:{http}",
                "httpsAddr": "",
                "monitoringAddr": f"127.0.0.1:{monitoring}",
                "ctrlz_port": 0,
                "namespace": ROOT_NAMESPACE,
            }
            log = self._stack.enter_context((folder / "log").open("wb"))
            self._said = self._stack.enter_context((folder / "log").open(errors="replace"))
            with _on_core(SERVER_CORE):
                self._process = subprocess.Popen(
                    [str(self._binary), "discovery", *(f"--{name}={value}" for name, value in options.items())],
                    env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), **WITHOUT_A_CLUSTER, **CONDITIONS},
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._stack.callback(self._end)
            self._wait_until_ready(f"http://127.0.0.1:{http}/ready")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self, url: str) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, timeout=1).status_code == 200:
                    time.sleep(SETTLE)
                    return
            time.sleep(0.2)
        raise RuntimeError(f"istiod does not start: {self._said.read()[-1000:]}")

    def apply(self, changed: Sequence[Document]) -> None:
        self._said.read()  # what came before is not about these
        self._files.apply(changed)

    def received(self) -> float:
        """When it took notice of what was applied last, by the monotonic clock."""
        moment = receipt(self._said.read())
        if moment is None:
            raise RuntimeError("istiod did not take notice of a change")
        return moment - time.time() + time.monotonic()

    def cpu(self) -> float:
        """Seconds so far, by the clock that Linux keeps for each process: /proc counts in hundredths, which is all of a small change."""
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def megabytes(self) -> float:
        """Resident."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def receipt(log: str) -> float | None:
    """The first moment, in seconds of the epoch, at which istiod took notice of a change: it says when it reads a folder, and, of everything
    else (its mesh file), how long it has been waiting for more when it begins to push.
    """
    moments = []
    for line in log.splitlines():
        waited = _DEBOUNCED.search(line)
        if waited is not None or "Triggering reload of file configuration" in line:
            said = datetime.fromisoformat(line.split("\t", 1)[0]).timestamp()
            moments.append(said - (float(waited[1]) * _UNITS[waited[2]] if waited is not None else 0.0))
    return min(moments, default=None)


def version(binary: Path) -> str:
    """Of the Go module that it was built from, as Go's linker notes it."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _DEPENDENCY.search(content)
        return found[1].decode() if found is not None else "of unknown version"


def _free_ports(count: int) -> list[int]:
    """It does not tell which port it got if it asks for any."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


@contextlib.contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Whatever is started within begins there: a Go process has threads, and counts its cores, before anyone could move it."""
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
