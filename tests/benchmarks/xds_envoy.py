# SPDX-License-Identifier: Apache-2.0
"""One real Envoy that holds the whole mesh: from Pilot's receipt of a change to Envoy's acknowledgement."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script
from common.mesh.names import TYPE_ENDPOINT, TYPE_VIRTUAL_HOST
from tests.benchmarks.xds_lab import CLIENT_CORE, SERVER_CORE, Lab
from tests.benchmarks.xds_secrets import secret_server

ENVOY = Path(sys.executable).parent / "envoy"
WARM = 60.0  # seconds until its first acknowledgement
QUIET = 4.0  # seconds without a further one


def envoy_times(lab: Lab, *, rounds: int) -> dict[str, tuple[list[float], None]]:
    """Milliseconds by figure."""
    service = lab.mesh.service(7 % lab.mesh.services)
    with _envoy(lab):
        lab.pilot.wait("acked", WARM)
        _quiet(lab)
        endpoint = [_one(lab, lab.mesh.endpoint(service, 0, generation=lab.next_generation()), TYPE_ENDPOINT) for _ in range(rounds)]
        route = [_one(lab, lab.mesh.route(service, lab.next_generation()), TYPE_VIRTUAL_HOST) for _ in range(rounds)]
    return {"envoy_endpoint": (endpoint, None), "envoy_route": (route, None)}


def _quiet(lab: Lab) -> None:
    """Until Envoy has acknowledged its routes and nothing more comes."""
    with contextlib.suppress(TimeoutError):
        while lab.pilot.wait("acked", QUIET):
            pass


def _one(lab: Lab, document: dict[str, Any], type_url: str) -> float:
    lab.pilot.heard()
    lab.apply_now([document])
    received = float(lab.pilot.wait("received")["received"])
    while (said := lab.pilot.wait("acked", 10))["type_url"] != type_url:
        pass
    time.sleep(0.12)  # longer than Pilot's interval between two pushes
    return (float(said["acked"]) - received) * 1e3


@contextlib.contextmanager
def _envoy(lab: Lab) -> Iterator[None]:
    node = lab.mesh.node(0)
    namespace = lab.mesh.service(0).namespace
    node.id = f"sidecar~127.20.7.1~envoy.{namespace}~{namespace}.svc.cluster.local"
    node.metadata.update({"INTERCEPTION_MODE": "NONE", "OUTBOUND_BIND_ADDRESS": "127.20.7.2", "APPLICATION_ADDRESS": "127.20.7.3"})
    host, _, port = lab.pilot.addresses["xds-plaintext"].rpartition(":")
    secrets = secret_server(lab.material(*lab.mesh.account(0)))
    addresses = {"xds-grpc": int(port), "sds-grpc": secrets.port, "mixer-check": 9, "mixer-report": 9}
    clusters = [_cluster(name, host, number) for name, number in addresses.items()]
    ads = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}
    source = {"ads": {}, "resource_api_version": "V3"}
    bootstrap = {
        "node": MessageToDict(node, preserving_proto_field_name=True),
        "dynamic_resources": {"ads_config": ads, "cds_config": source, "lds_config": source},
        "static_resources": {"clusters": clusters},
        "stats_config": {"stats_matcher": {"reject_all": True}},
    }
    file = lab.folder / "envoy.json"
    file.write_text(json.dumps(bootstrap))
    command = (str(ENVOY), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c", str(file))
    environment = {**os.environ, CHECK_SCRIPT_VARIABLE: check_script()}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    with contextlib.suppress(OSError):  # either core: Galley analyses what it just accepted on the clients' one
        os.sched_setaffinity(process.pid, {SERVER_CORE, CLIENT_CORE})
    try:
        yield
    finally:
        secrets.stop()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cluster(name: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": host, "port_value": port}}}
    protocol = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
