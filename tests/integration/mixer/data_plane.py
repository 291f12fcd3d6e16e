# SPDX-License-Identifier: Apache-2.0
"""One real Envoy with our filter and access logs in a static bootstrap, the application behind it, and certificates for every connection.

The proxy of *ratings* receives on three listeners: plaintext HTTP, HTTP by mutual TLS, TCP by mutual TLS. A fourth listener plays the proxy of
*reviews*: what is sent there goes out to ratings by mutual TLS. The plaintext listener carries the filter's text, the one by mutual TLS refers to it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from google.protobuf import json_format
from google.protobuf.message import Message

from citadel.authority.issuing import Authority
from citadel.authority.root import new_root
from common.checkprotocol.attributes import PROXY_UID_VARIABLE, workload_uid
from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script
from common.identity.certificates import key_pem, new_key
from common.identity.material import KeyMaterial, WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.mesh.names import CHECK_CLUSTER, REPORT_CLUSTER, ROOT_NAMESPACE, SERVICE_ACCOUNTS, control_plane_dns_name
from pilot.networking.mixerclient import (
    CHECKED,
    SERVICE_METADATA,
    TCP_ACCESS_LOG_OPTIONS,
    MeshService,
    RouteCheck,
    forwarded_service,
    http_access_logs,
    http_filters,
    per_route,
    service_metadata,
    tcp_access_logs,
)

ENVOY = Path(sys.executable).with_name("envoy")
RATINGS = SpiffeId("cluster.local", "default", "ratings")
REVIEWS = SpiffeId("cluster.local", "default", "reviews")
MIXER = SpiffeId("cluster.local", ROOT_NAMESPACE, SERVICE_ACCOUNTS["mixer"])
SERVICE = MeshService(host="ratings.default.svc.cluster.local", name="ratings", namespace="default")
SECOND = MeshService(host="stars.default.svc.cluster.local", name="stars", namespace="default")
INBOUND_CLUSTER = "inbound|9080|http|ratings.default.svc.cluster.local"
OUTBOUND_CLUSTER = "outbound|9080||ratings.default.svc.cluster.local"
_TYPE = "type.googleapis.com/envoy.extensions."

Json = dict[str, Any]


class Identities:
    """Certificates of one mesh, issued as Citadel issues them."""

    def __init__(self) -> None:
        self._authority = Authority(new_root("cluster.local", now=datetime.now(UTC)))

    def of(self, spiffe_id: SpiffeId) -> WorkloadIdentity:
        key = new_key()
        issued = self._authority.issue(key.public_key(), spiffe_id, now=datetime.now(UTC))
        roots = self._authority.bundle_pem
        material = KeyMaterial.of(certificate_chain_pem=issued.certificate_pem, private_key_pem=key_pem(key), roots_pem=roots)
        return WorkloadIdentity(material)


class Ports(NamedTuple):
    """Where everything listens on 127.0.0.1."""

    admin: int
    plain: int
    mesh: int
    outbound: int
    tcp: int
    application: int
    check: int
    report: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    """Answers every request with its request line, headers and the length of its body, in JSON."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                length = int(headers.get("content-length", "0"))
                await reader.readexactly(length)
                body = json.dumps({"request": head[0], "headers": headers, "body": length}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nx-secret: yes\r\nx-kept: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def bootstrap(ports: Ports, identities: Identities, routes: Mapping[str, RouteCheck | None]) -> Json:
    """Each host name of `routes` is an inbound virtual host; None gives it no configuration for the filter."""
    ratings, reviews = identities.of(RATINGS), identities.of(REVIEWS)
    inbound = [{"name": name, "domains": [name], "routes": [_route(INBOUND_CLUSTER, check)]} for name, check in routes.items()]
    outbound = {
        "name": "any",
        "domains": ["*"],
        "routes": [_route(OUTBOUND_CLUSTER)],
        "request_headers_to_add": [_json(forwarded_service(SERVICE))],
    }
    tcp = {
        "@type": _TYPE + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": INBOUND_CLUSTER,
        "access_log": [_json(log) for log in tcp_access_logs("inbound")],
        "access_log_options": _json(TCP_ACCESS_LOG_OPTIONS),
    }
    mutual = {
        "@type": _TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": _certificates(ratings),
        "require_client_certificate": True,
    }
    return {
        "node": {
            "id": "sidecar~127.0.0.1~ratings-v1.default~default.svc.cluster.local",
            "cluster": "ratings",
            "metadata": {"ISTIO_VERSION": "1.4.10"},
        },
        "admin": {"address": _address(ports.admin)},
        "static_resources": {
            "listeners": [
                _listener("plain", ports.plain, _manager("inbound", inbound)),
                _listener("mesh", ports.mesh, _manager("inbound", inbound, holds_script=True), mutual),
                _listener("outbound", ports.outbound, _manager("outbound", [outbound])),
                _listener("tcp", ports.tcp, tcp, mutual),
            ],
            "clusters": [
                _cluster(INBOUND_CLUSTER, ports.application),
                _cluster(OUTBOUND_CLUSTER, ports.mesh, _client(reviews)),
                _cluster(CHECK_CLUSTER, ports.check, _client(ratings, control_plane_dns_name("mixer"))),
                _cluster(REPORT_CLUSTER, ports.report, _client(ratings, control_plane_dns_name("mixer")), http2=True),
            ],
        },
    }


def _json(message: Message) -> Json:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(name: str, port: int, config: Json, tls: Json | None = None) -> Json:
    chain: Json = {"filters": [{"name": name, "typed_config": config}]}
    if tls is not None:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _manager(direction: Any, hosts: list[Json], *, holds_script: bool = False) -> Json:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"}}
    return {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": direction,
        "http_filters": [*(_json(found) for found in http_filters(holds_script=holds_script) if direction == "inbound"), router],
        "route_config": {"name": direction, "virtual_hosts": hosts},
        "access_log": [_json(log) for log in http_access_logs(direction)],
    }


def _route(cluster: str, check: RouteCheck | None = None) -> Json:
    route: Json = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    if check is not None:
        service = _json(service_metadata(check.services[0])) | (_json(CHECKED) if check.check else {})
        route["metadata"] = {"filter_metadata": {SERVICE_METADATA: service}}
        route["typed_per_filter_config"] = {name: _json(config) for name, config in per_route(check).items()}
    return route


def _cluster(name: str, port: int, tls: Json | None = None, *, http2: bool = False) -> Json:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }
    if tls is not None:
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    if http2:
        options = {"@type": _TYPE + "upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    return cluster


def _client(identity: WorkloadIdentity, server_name: str = "") -> Json:
    tls = {"@type": _TYPE + "transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": _certificates(identity, server_name)}
    return tls | ({"sni": server_name} if server_name else {})


def _certificates(identity: WorkloadIdentity, server_name: str = "") -> Json:
    material = identity.current
    validation: Json = {"trusted_ca": {"inline_string": material.roots_pem.decode()}}
    if server_name:
        validation["match_typed_subject_alt_names"] = [{"san_type": "DNS", "matcher": {"exact": server_name}}]
    chain, key = material.certificate_chain_pem.decode(), material.private_key_pem.decode()
    return {
        "tls_certificates": [{"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}],
        "validation_context": validation,
    }


class Mesh:
    """A running Envoy, and a client of it."""

    def __init__(self, ports: Ports, client: httpx.AsyncClient, pid: int) -> None:
        self.ports, self.client, self.pid = ports, client, pid

    async def get(self, host: str, path: str = "/", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A plaintext request to ratings' own proxy."""
        return await self.client.get(f"http://127.0.0.1:{self.ports.plain}{path}", headers={"host": host, **(headers or {})})

    async def get_as_reviews(self, host: str, path: str = "/", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A request by reviews' proxy to ratings' proxy."""
        return await self.client.get(f"http://127.0.0.1:{self.ports.outbound}{path}", headers={"host": host, **(headers or {})})

    async def script_of(self, listener: str) -> str:
        """From where this listener has the filter's text: the name of the field that is set."""
        dump = (await self.client.get(f"http://127.0.0.1:{self.ports.admin}/config_dump?resource=static_listeners")).json()
        (found,) = [item["listener"] for item in dump["configs"] if item["listener"]["name"] == listener]
        (source,) = found["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]["default_source_code"]
        return str(source)

    async def counters(self, name: str) -> dict[str, int]:
        """Envoy's counters whose name contains `name`."""
        text = (await self.client.get(f"http://127.0.0.1:{self.ports.admin}/stats?filter={name}&type=Counters")).text
        return {key: int(value) for key, _, value in (line.rpartition(": ") for line in text.splitlines())}


@asynccontextmanager
async def envoy(directory: Path, config: Json, ports: Ports) -> AsyncIterator[Mesh]:
    """A process with one worker, ended with the block. Its log is `envoy.log` in the directory."""
    path = directory / "envoy.json"
    path.write_text(json.dumps(config))
    arguments = ["-c", str(path), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with (directory / "envoy.log").open("wb") as log:
        own = {PROXY_UID_VARIABLE: workload_uid("reviews-v1", "default"), CHECK_SCRIPT_VARIABLE: check_script()}
        process = await asyncio.create_subprocess_exec(str(ENVOY), *arguments, stdout=log, stderr=log, env={**os.environ, **own})
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            await _until_live(client, ports.admin)
            yield Mesh(ports, client, process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_live(client: httpx.AsyncClient, admin: int) -> None:
    for _ in range(600):
        try:
            if (await client.get(f"http://127.0.0.1:{admin}/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError("Envoy did not become ready within 30 s; see envoy.log in the test's directory")
