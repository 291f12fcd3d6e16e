# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
import sys
from importlib import import_module
from pathlib import Path

import pytest

from common.mesh import names
from deploy.local import mesh_file
from deploy.local.control_plane import PARTS, joining, part_settings
from deploy.local.network import HUB_ADDRESS, SUBNET, workload_address
from deploy.local.plan import LISTENERS, Addresses, Instance, instances

MESH = mesh_file.parse(
    {
        "name": "m",
        "workloads": [
            {"name": "a", "command": ["python", "-V"], "replicas": 2, "env": {"X": "1"}},
            {"name": "outside", "sidecar": False},
            {"name": "gateway", "type": "router"},
        ],
    }
)


def by_name(found: tuple[Instance, ...]) -> dict[str, Instance]:
    return {instance.name: instance for instance in found}


def test_replicas_are_told_apart_and_everything_is_unique() -> None:
    for interception in ("netns", "none"):
        found = instances(MESH, interception, 3)
        assert [instance.name for instance in found] == ["a-1", "a-2", "outside", "gateway"]
        assert len({instance.ip for instance in found}) == 4


def test_in_namespaces_each_application_is_another_user_and_never_the_proxy() -> None:
    found = instances(MESH, "netns")
    uids = [instance.uid for instance in found]
    assert len(set(uids)) == len(uids)
    assert not {0, names.PROXY_UID} & set(uids)
    assert all(ipaddress.IPv4Address(instance.ip) in SUBNET and instance.ip != HUB_ADDRESS for instance in found)


def test_intercepted_applications_are_told_no_outbound_host() -> None:
    environment = by_name(instances(MESH, "netns"))["a-1"].environment()
    assert environment["BIND_HOST"] == "0.0.0.0"
    assert "OUTBOUND_HOST" not in environment
    assert environment["X"] == "1"


def test_on_loopback_node_outbound_and_application_have_their_own_ranges() -> None:
    found = by_name(instances(MESH, "none", 3))
    a = found["a-2"]
    assert (a.ip, a.outbound_host, a.application_ip) == ("127.10.3.2", "127.11.3.2", "127.12.3.2")
    assert a.environment()["BIND_HOST"] == "127.12.3.2"
    assert a.environment()["OUTBOUND_HOST"] == "127.11.3.2"
    assert a.status_address == f"127.10.3.2:{names.SIDECAR_STATUS}"
    outside = found["outside"]
    assert outside.ip == outside.application_ip, "nobody stands before it"
    assert "OUTBOUND_HOST" not in outside.environment()


def test_python_is_the_interpreter_that_runs_this() -> None:
    assert instances(MESH, "none")[0].command() == [sys.executable, "-V"]


def test_there_is_an_end_to_addresses() -> None:
    many = mesh_file.parse({"name": "m", "workloads": [{"name": "a", "replicas": 255}]})
    with pytest.raises(ValueError, match="254 workloads"):
        instances(many, "none")
    assert len(instances(many, "netns")) == 255
    with pytest.raises(ValueError, match="at most"):
        workload_address(0)


def test_in_the_hub_only_public_listeners_are_on_the_bridge() -> None:
    addresses = Addresses("netns")
    for listener in LISTENERS:
        host = addresses[listener.part, listener.name].rpartition(":")[0]
        assert host == (HUB_ADDRESS if listener.public else "127.0.0.1")


def test_agents_are_told_every_address_that_they_need() -> None:
    told = Addresses("none", list(range(20000, 20000 + len(LISTENERS)))).for_agents()
    assert set(told) == {names.XDS_CLUSTER, names.CHECK_CLUSTER, names.REPORT_CLUSTER, "galley-registration"}
    assert len({address for addresses in told.values() for address in addresses}) == 4


@pytest.mark.parametrize("part", PARTS)
def test_every_part_accepts_what_it_is_told(part: str) -> None:
    settings_type = getattr(import_module(f"{part}.settings"), f"{part.capitalize()}Settings")
    addresses = Addresses("netns")
    settings = settings_type(**part_settings(part, addresses, Path("/s")), **joining(part, addresses, Path("/s")))
    for owner, _, address in addresses.items():
        if owner == part:
            assert address in settings.model_dump().values(), f"{part} is not told where to listen: {address}"
