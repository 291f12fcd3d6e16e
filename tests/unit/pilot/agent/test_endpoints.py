# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

from common.mesh import names
from pilot.agent.endpoints import ControlPlaneEndpoints, endpoint_file
from pilot.agent.settings import ProxySettings


def moved(path: Path, content: object) -> None:
    new = path.with_name("new")
    new.write_text(content if isinstance(content, str) else json.dumps(content))
    new.rename(path)


def ports(path: Path) -> list[int]:
    (resource,) = json.loads(path.read_text())["resources"]
    return [
        endpoint["endpoint"]["address"]["socket_address"]["port_value"]
        for group in resource["endpoints"]
        for endpoint in group["lb_endpoints"]
    ]


def test_given_addresses_are_written_at_once_and_privately(tmp_path: Path) -> None:
    endpoints = ControlPlaneEndpoints(ProxySettings(state_dir=tmp_path, pilot_address=("10.0.0.1:1", "10.0.0.2:2")))
    assert endpoints.refresh()
    assert ports(endpoints.files[names.XDS_CLUSTER]) == [1, 2]
    assert endpoints.files[names.XDS_CLUSTER].stat().st_mode & 0o777 == 0o600
    assert not endpoints.refresh()


def test_the_addresses_file_goes_first_and_only_what_changed_is_rewritten(tmp_path: Path) -> None:
    source = tmp_path / "addresses.json"
    moved(source, {names.XDS_CLUSTER: ["10.0.0.1:15012"], "galley-registration": ["10.0.0.1:9902"]})
    endpoints = ControlPlaneEndpoints(ProxySettings(state_dir=tmp_path, addresses_file=source))
    endpoints.refresh()
    check = endpoints.files[names.CHECK_CLUSTER].stat()
    assert ports(endpoints.files[names.XDS_CLUSTER]) == [15012]
    assert endpoints.other("galley-registration") == "10.0.0.1:9902"

    moved(source, {names.XDS_CLUSTER: ["10.0.0.9:7"]})
    assert endpoints.refresh()
    assert ports(endpoints.files[names.XDS_CLUSTER]) == [7]
    assert endpoints.files[names.CHECK_CLUSTER].stat().st_ino == check.st_ino
    assert endpoints.other("galley-registration") is None


def test_a_broken_addresses_file_leaves_the_old_addresses(tmp_path: Path) -> None:
    source = tmp_path / "addresses.json"
    moved(source, {names.XDS_CLUSTER: ["10.0.0.1:1"]})
    endpoints = ControlPlaneEndpoints(ProxySettings(state_dir=tmp_path, addresses_file=source))
    endpoints.refresh()
    for broken in ("{", {names.XDS_CLUSTER: ["nowhere"]}, {names.XDS_CLUSTER: [7]}, [1]):
        moved(source, broken)
        assert not endpoints.refresh()
        assert ports(endpoints.files[names.XDS_CLUSTER]) == [1]
    source.unlink()
    assert not endpoints.refresh()


def test_nobody_to_talk_to_is_an_empty_assignment() -> None:
    (resource,) = endpoint_file("xds-grpc", [])["resources"]
    assert resource["endpoints"] == []
