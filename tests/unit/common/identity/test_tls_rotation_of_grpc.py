# SPDX-License-Identifier: Apache-2.0
"""What a gRPC server is told about its certificate at each handshake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from common.identity.tls import grpc_server_credentials
from tests.running_citadel import identity_of, material_of, new_authority


def test_a_configuration_is_handed_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC's core frees every configuration that it gets: the same one twice is a double free, and the process dies under load."""
    fetchers: list[Callable[[], Any]] = []
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda first, fetch, **_: fetchers.append(fetch))
    authority = new_authority()
    identity = identity_of(authority, "default", "web")
    grpc_server_credentials(identity)
    (fetch,) = fetchers
    assert fetch() is None
    for _ in range(2):
        identity.replace(material_of(authority, "default", "web"))
        assert isinstance(fetch(), grpc.ServerCertificateConfiguration)
        assert fetch() is None
