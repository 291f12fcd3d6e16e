# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' protobuf form of Namespaces and Services."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from common.proto.kubernetes import v1_pb2 as kubernetes
from galley.api import binary
from galley.errors import BadRequestError
from tests.running_galley import RunningGalley

BINARY = {"content-type": "application/vnd.kubernetes.protobuf"}


def body(message: Message, kind: str, api_version: str = "v1") -> bytes:
    type_ = kubernetes.TypeMeta(apiVersion=api_version, kind=kind)
    return b"k8s\x00" + kubernetes.Unknown(typeMeta=type_, raw=message.SerializeToString()).SerializeToString()


def web() -> kubernetes.Service:
    ports = [
        kubernetes.ServicePort(name="http", protocol="TCP", port=80, targetPort=kubernetes.IntOrString(intVal=8080)),
        kubernetes.ServicePort(name="tcp-admin", port=81, targetPort=kubernetes.IntOrString(type=1, strVal="admin")),
    ]
    metadata = kubernetes.ObjectMeta(name="web", creationTimestamp=kubernetes.Time(), labels={"app": "web"})
    spec = kubernetes.ServiceSpec(ports=ports, selector={"app": "web"}, type="ClusterIP")
    return kubernetes.Service(metadata=metadata, spec=spec, status=kubernetes.ServiceStatus())


def test_an_object_becomes_its_document() -> None:
    assert binary.read(body(web(), "Service")) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080},
                {"name": "tcp-admin", "port": 81, "targetPort": "admin"},
            ],
            "selector": {"app": "web"},
            "type": "ClusterIP",
        },
    }


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "does not begin"),
        (b"{}", "does not begin"),
        (b"k8s\x00\xff\xff", "protobuf form"),
        (body(kubernetes.Namespace(), "Pod"), "v1 Pod is read as JSON only"),
        (body(kubernetes.Namespace(), "VirtualService", "networking.istio.io/v1alpha3"), "JSON only"),
        (body(kubernetes.Namespace.FromString(b"\x12\x03\x98\x06\x01"), "Namespace"), "Namespace.spec has field number 99"),
    ],
    ids=["empty", "json", "garbage", "kind", "group", "field"],
)
def test_what_is_no_such_object(raw: bytes, words: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        binary.read(raw)
    assert words in str(refused.value)


async def test_it_is_stored_like_any_other(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        created = await client.post("/api/v1/namespaces/default/services", content=body(web(), "Service"), headers=BINARY)
        assert (created.status_code, created.json()["spec"]["ports"][1]["targetPort"]) == (201, "admin")
        refused = await client.post("/api/v1/namespaces", content=b"k8s\x00\xff", headers=BINARY)
        assert (refused.status_code, refused.json()["kind"]) == (400, "Status")
