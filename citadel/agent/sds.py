# SPDX-License-Identifier: Apache-2.0
"""The SDS server: Envoy's SecretDiscoveryService over a Unix socket that only this workload's Envoy can open.

Envoy opens one stream for each secret name, by the method that its bootstrap says, and stalls up to 15 s on a source that is there but
silent. So the server starts only with an identity in hand: every stream is answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets as random_source
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from citadel.agent import metrics
from citadel.agent.secrets import secrets_of
from citadel.agent.stream import Delta, Secrets, StateOfTheWorld
from common.identity.material import KeyMaterial, WorkloadIdentity
from common.lifecycle.grpc import bind_grpc, grpc_server

log = structlog.get_logger("sds")

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
LONGEST_PATH = 107  # bytes; Linux's limit for a socket path, one less for the closing zero


@contextlib.asynccontextmanager
async def sds_server(identity: WorkloadIdentity, *, folder: Path, owner_uid: int | None = None) -> AsyncIterator[Path]:
    """Serve the identity's secrets and yield the socket's path, which is unique to this server: a second gRPC server would steal a
    shared path, and the first one's end would unlink it.

    `folder` is made 0700 and should hold nothing else. `owner_uid` is the user that Envoy runs as, when it is another than ours (we are root).
    """
    path = _fresh_path(folder, owner_uid)
    agent = SecretDiscovery(identity)
    server = grpc_server()
    server.add_generic_rpc_handlers((agent.handler(),))
    bind_grpc(server, f"unix:{path}", None)
    await server.start()
    _hand_over(path, owner_uid)
    log.info("serving", socket=str(path), spiffe_id=str(identity.spiffe_id))
    try:
        yield path
    finally:
        agent.close()
        await server.stop(0.2)
        path.unlink(missing_ok=True)


class SecretDiscovery:
    """The service: turns the state machine's words into messages, for each stream."""

    def __init__(self, identity: WorkloadIdentity) -> None:
        self._secrets: Secrets = secrets_of(identity.current)
        self._wakers: set[asyncio.Event] = set()
        self._closed = False
        self._unsubscribe = identity.subscribe(self._rotated)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        methods = {
            "StreamSecrets": _method(self._stream_secrets, DiscoveryRequest),
            "DeltaSecrets": _method(self._delta_secrets, DeltaDiscoveryRequest),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def close(self) -> None:
        """End every stream, so that the server can stop at once."""
        self._closed = True
        self._unsubscribe()
        self._wake()

    def _rotated(self, material: KeyMaterial) -> None:
        self._secrets = secrets_of(material)
        self._wake()

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()

    async def _stream_secrets(self, _: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await self._serve(StateOfTheWorld(self._secrets), context)

    async def _delta_secrets(self, _: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await self._serve(Delta(self._secrets), context)

    async def _serve(self, stream: StateOfTheWorld | Delta, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Wait for whichever comes first, a request or new secrets; send what the stream says."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        metrics.connections.set(len(self._wakers))
        reading = asyncio.ensure_future(context.read())
        waking = asyncio.ensure_future(waker.wait())
        try:
            while not self._closed:
                await asyncio.wait((reading, waking), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    request = reading.result()
                    if request is grpc.aio.EOF:
                        return
                    await self._send(context, stream, stream.received(request))
                    _note_refusal(stream, request)
                    reading = asyncio.ensure_future(context.read())
                if waking.done():
                    waker.clear()
                    waking = asyncio.ensure_future(waker.wait())
                    await self._send(context, stream, stream.changed(self._secrets))
        finally:  # Envoy's end is seen as cancellation, not always as EOF
            reading.cancel()
            waking.cancel()
            self._wakers.discard(waker)
            metrics.connections.set(len(self._wakers))

    async def _send(self, context: grpc.aio.ServicerContext[Any, Any], stream: StateOfTheWorld | Delta, response: Any) -> None:
        if response is not None:
            await context.write(response)
            metrics.pushes.add()
            log.debug("sent", node=stream.node_id, names=sorted(stream.names), nonce=response.nonce)


def _note_refusal(stream: StateOfTheWorld | Delta, request: Any) -> None:
    if stream.refusal is not None and request.HasField("error_detail"):
        metrics.push_errors.add()
        log.error("Envoy refused a secret", node=stream.node_id, names=stream.refusal.names, reason=stream.refusal.message)


def _method(behaviour: Any, request_type: Any) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.stream_stream_rpc_method_handler(
        behaviour, request_deserializer=request_type.FromString, response_serializer=lambda message: message.SerializeToString()
    )


def _fresh_path(folder: Path, owner_uid: int | None) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if owner_uid is not None:
        os.chown(folder, owner_uid, -1)
    for old in folder.glob("sds-*.sock"):
        if not _alive(old.name.split("-")[1]):
            old.unlink(missing_ok=True)
    path = folder / f"sds-{os.getpid()}-{random_source.token_hex(2)}.sock"
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ValueError(f"the socket path {path} is longer than {LONGEST_PATH} bytes; choose a shorter folder")
    return path


def _alive(pid: str) -> bool:
    """Whether a process of this id may exist. In another PID namespace the number means another process: then we leave the file."""
    return not pid.isdigit() or Path(f"/proc/{pid}").exists()


def _hand_over(path: Path, owner_uid: int | None) -> None:
    path.chmod(0o600)
    if owner_uid is not None:
        os.chown(path, owner_uid, -1)
