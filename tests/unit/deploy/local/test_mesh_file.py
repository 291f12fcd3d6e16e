# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import mesh_file
from deploy.local.mesh_file import MeshFileError

GOOD = {
    "name": "m",
    "workloads": [
        {"name": "a", "command": ["python", "-V"], "ports": {"http": 9080}, "health": {"http": {"port": 9080, "path": "/health"}}},
        {"name": "gw", "namespace": "istio-system", "type": "router", "expose": [{"port": 8080}]},
    ],
}


def test_defaults_are_the_safe_and_common_ones() -> None:
    mesh = mesh_file.parse(GOOD)
    assert (mesh.mode, mesh.controlPlane) == ("auto", "split")
    a, gateway = mesh.workloads
    assert (a.namespace, a.serviceAccount, a.replicas, a.sidecar, a.concurrency, a.type) == ("default", "default", 1, True, 1, "sidecar")
    assert gateway.expose[0].hostPort == 0


def with_workload(**changes: object) -> object:
    return GOOD | {"workloads": [{"name": "a"} | changes]}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"workloads": []}, "name"),
        (GOOD | {"name": "Shop"}, "name: 'Shop'"),
        (GOOD | {"name": "a-name-too-long"}, "at most 12"),
        (GOOD | {"mode": "docker"}, "mode"),
        (GOOD | {"wrkloads": []}, "wrkloads"),
        (with_workload(ports={"http": "9080"}), "$.workloads[0].ports"),
        (with_workload(ports={"http": 0}), "workloads[0].ports.http: 0 is not a port"),
        (with_workload(health={}), "exactly one of http and tcp"),
        (with_workload(health={"http": {"port": 1}, "tcp": {"port": 1}}), "exactly one of http and tcp"),
        (with_workload(replicas=0), "replicas"),
        (with_workload(type="router", sidecar=False), "cannot be without one"),
        (with_workload(type="router", command=["x"]), "runs no application"),
        (with_workload(replicas=2, expose=[{"port": 80, "hostPort": 80}]), "cannot share a fixed hostPort"),
        (with_workload(serviceAccount="Bad_Name"), "serviceAccount: 'Bad_Name' is not a DNS label"),
        (GOOD | {"workloads": [{"name": "a"}, {"name": "a"}]}, "already the name of workloads[0]"),
    ],
)
def test_a_bad_file_names_the_field(document: object, expected: str) -> None:
    with pytest.raises(MeshFileError) as caught:
        mesh_file.parse(document, source="shop.yaml")
    assert str(caught.value).startswith("shop.yaml: ")
    assert expected in str(caught.value)


def test_a_missing_or_broken_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(MeshFileError, match=r"absent\.yaml is not there"):
        mesh_file.load(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    with pytest.raises(MeshFileError, match=r"broken\.yaml:1:8: not valid YAML"):
        mesh_file.load(broken)
    with pytest.raises(MeshFileError, match="Is a directory"):
        mesh_file.load(tmp_path)


def test_configuration_in_place_of_a_mesh_is_named_with_the_way_to_apply_it(tmp_path: Path) -> None:
    services = tmp_path / "services.yaml"
    services.write_text("apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Service\n")
    with pytest.raises(MeshFileError, match=r"configuration \(Service\), no mesh; .*fourmast apply -f"):
        mesh_file.load(services)
    services.write_text("name: a\n---\nname: b\n")
    with pytest.raises(MeshFileError, match="expected one mesh, found 2"):
        mesh_file.load(services)
