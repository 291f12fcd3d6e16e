# SPDX-License-Identifier: Apache-2.0
"""What stands beside Pilot is fair only if istiod is given the same mesh, its times begin when it says so, and who is not reached is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from tests.benchmarks import xds_istio
from tests.benchmarks.xds import Case
from tests.benchmarks.xds_clients.mesh import Document, Mesh
from tests.benchmarks.xds_clients.messages import CLUSTER, METHOD
from tests.benchmarks.xds_clients.swarm import Identity, Swarm
from tests.benchmarks.xds_istio import NEEDS, change, connect, main
from tests.benchmarks.xds_istio_lab import EmptyKubernetes, Files, documents, node, receipt, version

MESH = Mesh(namespaces=2, services=3, endpoints=2, ports=(80, 90))


def read(folder: Path) -> list[Document]:
    return [json.loads(text) for path in sorted(folder.iterdir()) for text in path.read_text().split("---\n")]


def key(document: Document) -> tuple[str, str, str]:
    return document["kind"], document["metadata"]["namespace"], document["metadata"]["name"]


def test_the_files_hold_the_whole_mesh_once_and_what_changes_apart(tmp_path: Path) -> None:
    changing = MESH.endpoint(MESH.service(1), 0)
    files = Files(tmp_path, MESH, [changing])
    still, moving = read(tmp_path / "still"), read(tmp_path / "moving")
    assert moving == [changing]
    assert Counter(key(document) for document in still + moving) == Counter(key(document) for document in documents(MESH))
    assert Counter(document["kind"] for document in still + moving) == {"ServiceEntry": 3, "WorkloadEntry": 6}

    changed = MESH.endpoint(MESH.service(1), 0, generation=1)
    files.apply([{"kind": "MeshConfig", "spec": {"connectTimeout": "2.25s"}}, changed, MESH.route(MESH.service(1), 1)])
    assert read(tmp_path / "moving") == [MESH.route(MESH.service(1), 1), changed]
    assert read(tmp_path / "still") == still
    mesh_config = json.loads((tmp_path / "mesh.yaml").read_text())
    assert mesh_config["connectTimeout"] == "2.25s"
    assert [source["address"] for source in mesh_config["configSources"]] == [f"fs://{tmp_path}/still", f"fs://{tmp_path}/moving"]


def test_a_service_entry_selects_the_workloads_that_the_service_did() -> None:
    (service,) = (document for document in MESH.documents() if document["kind"] == "Service" and document["metadata"]["name"] == "svc-2")
    (entry,) = (document for document in documents(MESH) if key(document) == ("ServiceEntry", "ns-0", "svc-2"))
    spec = entry["spec"]
    assert spec["hosts"] == [MESH.service(2).host]
    assert spec["workloadSelector"]["labels"] == service["spec"]["selector"]
    assert [(port["number"], port["name"]) for port in spec["ports"]] == [(90, "http")]


def test_a_proxy_has_the_address_of_an_endpoint_of_its_service_that_never_changes() -> None:
    for number in range(4):  # more than there are services
        service = MESH.service(number % 3)
        _, address, name, _ = node(MESH, number).id.split("~")
        assert address == MESH.endpoint(service, 1)["spec"]["address"]
        assert name == f"proxy-{number}.{service.namespace}"


def lines(response: httpx.Response) -> Any:
    return (json.loads(line) for line in response.iter_lines())


def test_the_empty_cluster_lists_nothing_and_its_watches_stay_silent() -> None:
    only_metadata = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"}
    with EmptyKubernetes() as kubernetes, httpx.Client(base_url=kubernetes.url, timeout=5) as client:
        slices = client.get("/apis/discovery.k8s.io/v1/endpointslices").json()
        assert (slices["apiVersion"], slices["kind"], slices["items"]) == ("discovery.k8s.io/v1", "EndpointSliceList", [])
        assert client.get("/api/v1/namespaces/x/configmaps/y").status_code == 404
        written = client.post("/api/v1/namespaces/x/configmaps", json={"metadata": {"name": "y"}})
        assert (written.status_code, written.json()) == (201, {"metadata": {"name": "y"}})
        assert client.get("/api/v1/namespaces/x/configmaps/y").status_code == 404

        watch = {"watch": "true", "sendInitialEvents": "true"}
        with client.stream("GET", "/api/v1/pods", params=watch, timeout=1) as response:
            told = lines(response)
            first = next(told)
            assert (first["type"], first["object"]["kind"]) == ("BOOKMARK", "Pod")
            assert first["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            with pytest.raises(httpx.ReadTimeout):
                next(told)
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        with client.stream("GET", path, params=watch, headers=only_metadata) as response:
            found = next(lines(response))["object"]
            assert (found["apiVersion"], found["kind"]) == ("meta.k8s.io/v1", "PartialObjectMetadata")
        with client.stream("GET", "/api/v1/pods", params={"watch": "true"}, timeout=1) as response, pytest.raises(httpx.ReadTimeout):
            next(lines(response))


def test_a_time_begins_at_the_first_notice_that_the_log_tells() -> None:
    def at(seconds: float, text: str) -> str:
        return f"{datetime.fromtimestamp(1_800_000_000 + seconds, UTC).isoformat(timespec='microseconds').replace('+00:00', 'Z')}\tinfo\t{text}\n"

    pushed = "ads\tPush debounce stable[20] 1 for reason global:1: 100.9ms since last change, {} since last push, forced=true"
    reload = at(0.5, "Triggering reload of file configuration")
    other = at(0.0, "delta\tCDS: PUSH for node:a.b resources:4")
    assert receipt(other) is None
    assert receipt(other + reload) == pytest.approx(1_800_000_000.5)
    assert receipt(reload + at(0.7, pushed.format("150ms"))) == pytest.approx(1_800_000_000.5)
    assert receipt(at(0.6, pushed.format("250ms")) + reload) == pytest.approx(1_800_000_000.35)
    assert receipt(at(2.0, pushed.format("1.9s")) + reload) == pytest.approx(1_800_000_000.1)


def test_the_version_is_what_the_binary_says(tmp_path: Path) -> None:
    binary = tmp_path / "pilot-discovery"
    binary.write_bytes(b"\x7fELF\0path\tistio.io/istio/pilot\nmod\tlab\t(devel)\t\ndep\tistio.io/istio\tv1.2.3\th1:x=\n")
    assert version(binary) == "v1.2.3"
    binary.write_bytes(b"\x7fELF")
    assert version(binary) == "of unknown version"


def test_without_a_binary_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main() == 2
    assert capsys.readouterr().err == NEEDS + "\n"
    assert main(binary=tmp_path / "absent") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "absent is no file" in told and "go build istio.io/istio/pilot/cmd/pilot-discovery" in told
    assert time.monotonic() - began < 5  # it measured nothing


class Partial:
    """A control plane that has nothing, tells each change to all but one proxy, and resets that one when it is told to."""

    def __init__(self, ignored: int) -> None:
        self._ignored, self._loop = f"~proxy-{ignored}.", asyncio.get_running_loop()
        self._streams: list[grpc.aio.ServicerContext[Any, Any]] = []
        self._began = 0.0
        self.reset = asyncio.Event()

    async def converse(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while isinstance(raw := await context.read(), bytes):
            request = DeltaDiscoveryRequest.FromString(raw)
            if self._ignored in request.node.id:
                await self.reset.wait()
                return
            if request.HasField("node"):
                self._streams.append(context)
            if not request.response_nonce:
                await context.write(DeltaDiscoveryResponse(nonce="1", type_url=request.type_url).SerializeToString())

    def apply(self, changed: Sequence[Document], /) -> None:
        self._began = time.monotonic()
        message = DeltaDiscoveryResponse(nonce="changed", type_url=CLUSTER).SerializeToString()
        for stream in self._streams:
            asyncio.run_coroutine_threadsafe(stream.write(message), self._loop)

    def received(self) -> float:
        return self._began

    def cpu(self) -> float:
        return time.process_time()

    def megabytes(self) -> float:
        return 0.0


async def test_proxies_that_are_not_reached_are_told_and_cost_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds_istio, "PATIENCE", 1.0)
    monkeypatch.setattr(xds_istio, "PAUSE", 0.1)
    plane = Partial(ignored=3)
    case = Case("changed", lambda generation: [], lambda generation: {CLUSTER: lambda message: b"changed" in message})
    handler: Any = grpc.stream_stream_rpc_method_handler(plane.converse)

    class Handlers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return handler if handler_call_details.method == METHOD["delta"] else None

    server = grpc.aio.server(handlers=(Handlers(),), options=(("grpc.so_reuseport", 0),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with Swarm(("127.0.0.1", port)) as swarm:
        identities = [Identity(MESH.node(number)) for number in range(5)]
        assert await asyncio.to_thread(connect, swarm, identities, 2) == 1
        assert [client.synced for client in swarm.clients] == [True, True, True, False, True]
        late = await asyncio.to_thread(change, plane, swarm, case, 1)
        assert (late.missing, late.milliseconds) == (1, 1000)
        plane.reset.set()
        await asyncio.to_thread(swarm.idle, 0.3)
        assert swarm.closed.total() == 1
        reached = await asyncio.to_thread(change, plane, swarm, case, 2)
        assert reached.missing == 1 and 0 < reached.milliseconds < 1000
    await server.stop(0)
