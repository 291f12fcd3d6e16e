# SPDX-License-Identifier: Apache-2.0
"""The SDS server on its socket, with Envoy's part played by a gRPC client. The real Envoy is in tests/integration/citadel."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import grpc.aio
import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from citadel.agent import metrics
from citadel.agent.sds import LONGEST_PATH, sds_server
from tests.running_citadel import identity_of, material_of, new_authority

authority = new_authority()


def streams(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamMultiCallable[DiscoveryRequest, DiscoveryResponse]:
    return channel.stream_stream(
        "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
        request_serializer=DiscoveryRequest.SerializeToString,
        response_deserializer=DiscoveryResponse.FromString,
    )


def certificate_in(response: DiscoveryResponse) -> bytes:
    secret = Secret()
    assert response.resources[0].Unpack(secret)
    return secret.tls_certificate.certificate_chain.inline_bytes


async def test_streams_are_answered_at_once_and_follow_rotation(tmp_path: Path) -> None:
    identity = identity_of(authority, "default", "sleep")
    async with sds_server(identity, folder=tmp_path / "sds") as path, grpc.aio.insecure_channel(f"unix:{path}") as channel:
        certificates, roots = streams(channel)(), streams(channel)()
        await certificates.write(DiscoveryRequest(resource_names=["default"]))
        await roots.write(DiscoveryRequest(resource_names=["ROOTCA"]))
        first = await asyncio.wait_for(certificates.read(), 1)
        assert isinstance(first, DiscoveryResponse)
        assert certificate_in(first) == identity.current.certificate_chain_pem
        bundle = await asyncio.wait_for(roots.read(), 1)
        assert isinstance(bundle, DiscoveryResponse)
        assert metrics.connections.value() == 2
        await certificates.write(DiscoveryRequest(resource_names=["default"], response_nonce=first.nonce))
        await roots.write(DiscoveryRequest(resource_names=["ROOTCA"], response_nonce=bundle.nonce))
        identity.replace(material_of(authority, "default", "sleep"))
        second = await asyncio.wait_for(certificates.read(), 1)
        assert isinstance(second, DiscoveryResponse)
        assert certificate_in(second) == identity.current.certificate_chain_pem
        with pytest.raises(TimeoutError):  # the bundle is the same
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(roots.read())), 0.1)
        certificates.cancel()
        roots.cancel()
        for _ in range(50):
            if metrics.connections.value() == 0:
                break
            await asyncio.sleep(0.02)
        assert metrics.connections.value() == 0


async def test_the_end_of_the_server_ends_its_streams_at_once(tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'absent'}"):
        began = asyncio.get_running_loop().time()
        async with sds_server(identity_of(authority, "default", "sleep"), folder=tmp_path / "sds") as path:
            channel = grpc.aio.insecure_channel(f"unix:{path}")
            stream = streams(channel)()
            await stream.write(DiscoveryRequest(resource_names=["default"]))
            await asyncio.wait_for(stream.read(), 1)
        assert asyncio.get_running_loop().time() - began < 1
        await channel.close()
    assert os.listdir(tmp_path / "sds") == []


async def test_sockets_are_private_and_each_servers_own(tmp_path: Path) -> None:
    identity = identity_of(authority, "default", "sleep")
    async with sds_server(identity, folder=tmp_path / "sds") as one:
        async with sds_server(identity, folder=tmp_path / "sds") as two:
            assert one != two
        assert one.exists(), "the other server's end must not take our socket"
        assert one.stat().st_mode & 0o777 == 0o600
        assert one.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
async def test_the_socket_belongs_to_envoys_user(tmp_path: Path) -> None:
    async with sds_server(identity_of(authority, "default", "sleep"), folder=tmp_path / "sds", owner_uid=1337) as path:
        assert (path.stat().st_uid, path.parent.stat().st_uid) == (1337, 1337)


async def test_a_dead_processs_socket_is_swept_away(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = tmp_path / "sds"
    folder.mkdir()
    (folder / f"sds-{ended.pid}-0a0b.sock").touch()
    (folder / f"sds-{os.getppid()}-0a0b.sock").touch()
    async with sds_server(identity_of(authority, "default", "sleep"), folder=folder):
        assert not (folder / f"sds-{ended.pid}-0a0b.sock").exists()
        assert (folder / f"sds-{os.getppid()}-0a0b.sock").exists()


async def test_too_long_a_path_is_said_and_not_left_to_envoy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(LONGEST_PATH)):
        async with sds_server(identity_of(authority, "default", "sleep"), folder=tmp_path / ("x" * 100)):
            pass
