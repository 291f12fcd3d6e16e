# SPDX-License-Identifier: Apache-2.0
"""Bytes that are joined by hand mean what protobuf means by them."""

from __future__ import annotations

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from hypothesis import given
from hypothesis import strategies as st

from pilot.xds.framing import delta_resource, delta_response, is_name_only, sotw_resource, sotw_response, varint

names = st.text(max_size=300)
bodies = st.binary(max_size=400)
resources = st.lists(st.tuples(names, names, bodies), max_size=5)


@given(st.integers(0, 2**40))
def test_varint_is_protobufs(number: int) -> None:
    from google.protobuf.wrappers_pb2 import UInt64Value

    assert UInt64Value(value=number).SerializeToString() == (b"\x08" + varint(number) if number else b"")


@given(names, names, names, resources)
def test_state_of_the_world_responses_are_protobufs_own_bytes(
    type_url: str, version: str, nonce: str, made: list[tuple[str, str, bytes]]
) -> None:
    expected = DiscoveryResponse(version_info=version, type_url=type_url, nonce=nonce)
    for _, _, body in made:
        expected.resources.add(type_url=type_url, value=body)
    payload = sotw_response(type_url, version, nonce, [sotw_resource(type_url, body) for _, _, body in made])
    assert payload == expected.SerializeToString(deterministic=True)


@given(names, names, names, resources, st.lists(st.text(min_size=1), max_size=4))
def test_delta_responses_are_read_by_protobuf_as_meant(
    type_url: str, version: str, nonce: str, made: list[tuple[str, str, bytes]], removed: list[str]
) -> None:
    expected = DeltaDiscoveryResponse(system_version_info=version, type_url=type_url, nonce=nonce, removed_resources=removed)
    for name, resource_version, body in made:
        resource = expected.resources.add(name=name, version=resource_version)
        resource.resource.type_url, resource.resource.value = type_url, body
    frames = [delta_resource(type_url, name, resource_version, body) for name, resource_version, body in made]
    payload = delta_response(type_url, version, nonce, [b"".join(frames)], removed)
    assert DeltaDiscoveryResponse.FromString(payload) == expected


def test_a_resource_that_says_only_its_name() -> None:
    assert is_name_only(ClusterLoadAssignment(cluster_name="a").SerializeToString(), "a")
    assert is_name_only(ClusterLoadAssignment(cluster_name="ä" * 80).SerializeToString(), "ä" * 80)
    full = ClusterLoadAssignment(cluster_name="a")
    full.endpoints.add()
    assert not is_name_only(full.SerializeToString(), "a")
