# SPDX-License-Identifier: Apache-2.0
"""How a destination service is named to Mixer: to the other proxy by a header, to the Report by metadata.

Istio 1.4's proxies forwarded a whole attribute set in `x-istio-attributes`, and the receiver believed it. Here the header names only
the host that the client meant; the receiver looks it up among the services that Pilot says it serves. A client can choose between these
but invent nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from envoy.config.core.v3 import base_pb2
from google.protobuf import struct_pb2

from common.checkprotocol.attributes import (
    CHECKED_METADATA_KEY,
    PROXY_UID_VARIABLE,
    SERVICE_HEADER,
    SERVICE_METADATA,
    SERVICE_METADATA_KEY,
    join_service,
)

INTERNAL_HEADERS: Final[tuple[str, ...]] = (SERVICE_HEADER,)
"""Headers that only our own proxies may exchange: never let one into the mesh at its edge, or out of it."""

__all__ = ["CHECKED", "INTERNAL_HEADERS", "SERVICE_METADATA", "MeshService", "forwarded_service", "service_metadata"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshService:
    """The four `destination.service.*` attributes; `host` is the fully qualified name, `name` the short one."""

    host: str
    name: str
    namespace: str = ""

    @property
    def uid(self) -> str:
        return f"istio://{self.namespace}/services/{self.name}"


def forwarded_service(service: MeshService) -> base_pb2.HeaderValueOption:
    """The header by which an outbound route says which service the client meant. It overwrites whatever the application sent.

    Envoy fills in the proxy's own uid from its environment, so routes stay the same for all proxies.
    """
    value = f"{service.host};%ENVIRONMENT({PROXY_UID_VARIABLE})%"
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=SERVICE_HEADER, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


CHECKED: Final = struct_pb2.Struct(fields={CHECKED_METADATA_KEY: struct_pb2.Value(string_value="1")})
"""Belongs, merged, under `SERVICE_METADATA` of a route on which Mixer is asked: the Report then tells cached answers from none."""


def service_metadata(service: MeshService) -> struct_pb2.Struct:
    """What belongs under `SERVICE_METADATA` in the metadata of a cluster or route: one string, because the access log copies it into every entry."""
    text = join_service(service.host, service.name, service.namespace)
    return struct_pb2.Struct(fields={SERVICE_METADATA_KEY: struct_pb2.Value(string_value=text)})
