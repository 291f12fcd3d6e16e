# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from common.checkprotocol.script import check_script
from common.identity.spiffe import SpiffeId
from common.mesh import names
from common.mesh.node import NodeId, NodeMetadata
from pilot.agent.bootstrap import bootstrap, environment, sds_config
from pilot.agent.endpoints import ControlPlaneEndpoints
from pilot.agent.settings import ProxySettings
from pilot.agent.supervisor import command_line, envoy_binary

REVIEWS = SpiffeId.of("cluster.local", "default", "bookinfo-reviews")


def settings(state_dir: Path, **changes: Any) -> ProxySettings:
    values = {
        "state_dir": state_dir,
        "name": "reviews-v1-1",
        "workload_name": "reviews-v1",
        "ip": "10.99.1.4",
        "labels": "app=reviews,version=v1",
    }
    return ProxySettings(**(values | changes))


def made(state_dir: Path, node_type: str = "sidecar", **changes: Any) -> dict[str, Any]:
    chosen = settings(state_dir, **changes)
    endpoints = ControlPlaneEndpoints(chosen)
    endpoints.refresh()
    return bootstrap(chosen, REVIEWS, node_type, sds_socket=state_dir / "sds.sock", endpoint_files=endpoints.files)


@pytest.mark.parametrize(
    ("node_type", "changes"),
    [
        ("sidecar", {}),
        ("router", {"interception_mode": "NONE", "outbound_bind_address": "127.11.0.4", "application_address": "127.12.0.4"}),
        ("sidecar", {"xds_protocol": "sotw", "stats_address": "", "locality": "eu/eu-1", "stats_inclusion_prefixes": ("http.",)}),
    ],
)
def test_the_real_envoy_accepts_it(short_tmp: Path, node_type: str, changes: dict[str, Any]) -> None:
    file = short_tmp / "bootstrap.json"
    file.write_text(json.dumps(made(short_tmp, node_type, **changes)))
    command = command_line(settings(short_tmp, **changes), envoy_binary(settings(short_tmp)), file)
    result = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, result.stderr
    assert "OK" in result.stdout
    assert "deprecated" not in result.stderr


def test_pilot_can_read_who_the_proxy_is(short_tmp: Path) -> None:
    node = made(short_tmp, locality="eu/eu-1/a")["node"]
    assert NodeId.parse(node["id"]) == NodeId(type="sidecar", ip="10.99.1.4", name="reviews-v1-1", namespace="default")
    metadata = NodeMetadata(**node["metadata"])
    assert (metadata.SERVICE_ACCOUNT, metadata.WORKLOAD_NAME, metadata.LABELS["version"]) == ("bookinfo-reviews", "reviews-v1", "v1")
    assert node["locality"] == {"region": "eu", "zone": "eu-1", "sub_zone": "a"}


@pytest.mark.parametrize(("protocol", "discovery"), [("delta", "ADS"), ("sotw", "")])
def test_a_proxy_on_a_delta_stream_discovers_virtual_hosts(short_tmp: Path, protocol: str, discovery: str) -> None:
    """Envoy 1.40 has no virtual host discovery in state-of-the-world."""
    metadata = NodeMetadata(**made(short_tmp, xds_protocol=protocol)["node"]["metadata"])
    assert discovery == metadata.VIRTUAL_HOST_DISCOVERY


def test_envoy_has_the_check_script_that_the_metadata_names(short_tmp: Path) -> None:
    variables = environment(settings(short_tmp), REVIEWS)
    assert variables == {"FOURMAST_PROXY_UID": "kubernetes://reviews-v1-1.default", "FOURMAST_CHECK_SCRIPT": check_script()}
    metadata = NodeMetadata(**made(short_tmp)["node"]["metadata"])
    assert hashlib.blake2s(variables["FOURMAST_CHECK_SCRIPT"].encode(), digest_size=12).hexdigest() == metadata.CHECK_SCRIPT


def test_each_control_plane_cluster_checks_its_own_parts_spiffe_id(short_tmp: Path) -> None:
    clusters = {cluster["name"]: cluster for cluster in made(short_tmp)["static_resources"]["clusters"]}
    for name, part in ((names.XDS_CLUSTER, "pilot"), (names.CHECK_CLUSTER, "mixer"), (names.REPORT_CLUSTER, "mixer")):
        tls = clusters[name]["transport_socket"]["typed_config"]["common_tls_context"]
        assert tls["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"] == [
            {"san_type": "URI", "matcher": {"exact": f"spiffe://cluster.local/ns/istio-system/sa/{names.SERVICE_ACCOUNTS[part]}"}}
        ]
        assert tls["tls_certificate_sds_secret_configs"] == [{"name": "default", "sds_config": sds_config()}]


def test_check_speaks_http1_and_the_streams_http2(short_tmp: Path) -> None:
    clusters = {cluster["name"]: cluster for cluster in made(short_tmp)["static_resources"]["clusters"]}

    def protocol(name: str) -> str:
        (options,) = clusters[name]["typed_extension_protocol_options"].values()
        return str(next(iter(options["explicit_http_config"])))

    assert protocol(names.CHECK_CLUSTER) == "http_protocol_options"
    assert protocol(names.XDS_CLUSTER) == protocol(names.REPORT_CLUSTER) == "http2_protocol_options"


def test_the_admin_interface_is_a_private_socket(short_tmp: Path) -> None:
    assert made(short_tmp)["admin"] == {"address": {"pipe": {"path": str(short_tmp / "admin.sock"), "mode": 0o600}}}


def test_a_socket_path_that_the_kernel_would_refuse_is_refused_here(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 107 bytes"):
        made(tmp_path / ("x" * 100))


def test_a_label_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="'app' is not of the form key=value"):
        ProxySettings(labels="app")
