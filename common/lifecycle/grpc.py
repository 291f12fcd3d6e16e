# SPDX-License-Identifier: Apache-2.0
"""grpc.aio servers with the options that every listener of ours needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from common.lifecycle.host import StartError
from common.lifecycle.http import split_address

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.so_reuseport", 0),  # a stale process must not go on answering a share of the requests
    ("grpc.server.max_pending_requests", 10_000),  # thousands of proxies reconnecting at once would otherwise be reset
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),  # Istio 1.4: 10; but a ping waits behind a full push to a thousand proxies
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


def grpc_server(*, max_message: int = 4 * 1024 * 1024, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Server:
    """A server that binds exclusively and accepts messages up to `max_message` bytes."""
    limits = (("grpc.max_receive_message_length", max_message), ("grpc.max_send_message_length", -1))
    return grpc.aio.server(options=(*OPTIONS, *limits, *options))


def bind_grpc(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    """Add a listener; `host:port` as really bound is returned. `credentials` None means plaintext. Raises StartError when the port is taken."""
    try:
        port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}: the port is taken or the address is not ours; choose another address") from error
    if port == 0:
        raise StartError(f"cannot listen on {address}: the port is taken or the address is not ours; choose another address")
    if address.startswith("unix:"):
        return address
    host, _ = split_address(address)
    return f"{host}:{port}"
