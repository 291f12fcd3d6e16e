# SPDX-License-Identifier: Apache-2.0
"""What stands beside Pilot is fair only if its resources are ones that Envoy takes, and its proxies poll as it expects."""

from __future__ import annotations

import asyncio
import contextlib
import json

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager
from google.protobuf.json_format import ParseDict

from tests.benchmarks import sovereign_templates as templates
from tests.benchmarks.xds_clients.mesh import Mesh
from tests.benchmarks.xds_sovereign_lab import Proxy

TYPE = "type.googleapis.com/"
SERVICES = [{"host": "a.x", "port": 80, "addresses": ["10.0.0.1", "10.0.0.2"]}, {"host": "b.x", "port": 90, "addresses": ["10.0.0.3"]}]


def test_templates_give_resources_of_envoy_that_refer_to_each_other() -> None:
    assert [TYPE + one.DESCRIPTOR.full_name for one in (HttpConnectionManager, Router)] == [templates.MANAGER, templates.ROUTER]
    clusters = {cluster.name for cluster in (ParseDict(one, Cluster()) for one in templates.clusters(SERVICES))}
    assignments = [ParseDict(one, ClusterLoadAssignment()) for one in templates.endpoints(SERVICES)]
    listeners = [ParseDict(one, Listener()) for one in templates.listeners(SERVICES)]
    routes = [ParseDict(one, RouteConfiguration()) for one in templates.routes(SERVICES)]
    assert {assignment.cluster_name for assignment in assignments} == clusters
    assert [len(assignment.endpoints[0].lb_endpoints) for assignment in assignments] == [2, 1]
    assert [listener.address.socket_address.port_value for listener in listeners] == [80, 90]
    assert {host.routes[0].route.cluster for route in routes for host in route.virtual_hosts} == clusters
    assert [route.name for route in routes] == ["80", "90"]


async def test_a_proxy_says_which_version_it_has_and_gets_nothing_twice() -> None:
    asked, left = [], asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # it has left
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.partition(b"Content-Length: ")[2].split()[0])
                asked.append((head.split()[1], json.loads(await reader.readexactly(length))["version_info"]))
                body, code = (b"", 304) if asked[-1][1] == "7" else (b"{}", 200)
                writer.write(b"HTTP/1.1 %d X\r\nX-Sovereign-Response-Version: 7\r\ncontent-length: %d\r\n\r\n%b" % (code, len(body), body))
        writer.close()
        left.set()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        proxy = Proxy(Mesh().node(0), server.sockets[0].getsockname())
        assert [await proxy.ask("clusters"), await proxy.ask("clusters"), await proxy.ask("routes")] == [b"{}", b"", b"{}"]
        proxy.close()
        await left.wait()
    assert asked == [(b"/v3/discovery:clusters", ""), (b"/v3/discovery:clusters", "7"), (b"/v3/discovery:routes", "")]
    assert proxy.polls == 3
