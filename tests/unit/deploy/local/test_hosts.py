# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.local.hosts import HostsFiles, hosts_text


def service(name: str, namespace: str, address: str | None) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address} if address else {}}


def entry(hosts: list[str], addresses: list[str]) -> dict[str, Any]:
    return {"metadata": {"name": "e", "namespace": "default"}, "spec": {"hosts": hosts, "addresses": addresses}}


def test_every_name_of_a_service_leads_to_its_address() -> None:
    lines = hosts_text([service("ratings", "default", "240.240.0.7")], [], namespace="default").splitlines()
    assert lines == ["127.0.0.1 localhost", "240.240.0.7 ratings.default.svc.cluster.local ratings.default.svc ratings.default ratings"]


def test_a_bare_name_is_a_neighbours_only() -> None:
    (line,) = hosts_text([service("ratings", "default", "240.240.0.7")], [], namespace="other").splitlines()[1:]
    assert "ratings" not in line.split()
    assert "ratings.default" in line.split()


def test_headless_services_and_wildcards_have_no_line() -> None:
    text = hosts_text(
        [service("a", "default", "None"), service("b", "default", None)],
        [entry(["*.example.com"], ["240.240.0.9"]), entry(["x.example.com"], []), entry(["y.example.com"], ["10.0.0.0/8"])],
        namespace="default",
    )
    assert text == "127.0.0.1 localhost\n"


def test_service_entries_are_found_by_their_hosts() -> None:
    text = hosts_text([], [entry(["httpbin.org", "*.httpbin.org"], ["240.240.1.2"])], namespace="default")
    assert text.splitlines()[1] == "240.240.1.2 httpbin.org"


def test_a_file_is_rewritten_in_place_because_it_is_bind_mounted(tmp_path: Path) -> None:
    files = HostsFiles(tmp_path, ["default"])
    inode = files.path("default").stat().st_ino
    assert files.update([service("a-long-name", "default", "240.240.0.1")], [])
    assert files.update([service("b", "default", "240.240.0.1")], [])
    assert not files.update([service("b", "default", "240.240.0.1")], [])
    assert files.path("default").stat().st_ino == inode
    assert files.path("default").read_text().splitlines()[-1] == "240.240.0.1 b.default.svc.cluster.local b.default.svc b.default b"
    assert files.path("default").stat().st_mode & 0o444 == 0o444
