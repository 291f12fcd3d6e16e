# SPDX-License-Identifier: Apache-2.0
"""Objects in Kubernetes' protobuf form. Newer kubectls write Namespaces and Services in it when they make them from flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from common.proto.kubernetes import v1_pb2 as kubernetes
from galley.errors import BadRequestError

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_KINDS: Final[Mapping[tuple[str, str], type[Message]]] = {
    ("v1", "Namespace"): kubernetes.Namespace,
    ("v1", "Service"): kubernetes.Service,
}


def read(raw: bytes) -> dict[str, Any]:
    """The object as a document. Raises BadRequestError for other kinds, and for fields that would be lost."""
    if not raw.startswith(_MAGIC):
        raise BadRequestError("the body does not begin like an object in Kubernetes' protobuf form")
    try:
        envelope = kubernetes.Unknown.FromString(raw[len(_MAGIC) :])
        type_ = (envelope.typeMeta.apiVersion, envelope.typeMeta.kind)
        if type_ not in _KINDS or envelope.contentEncoding:
            raise BadRequestError(f"{' '.join(type_)} is read as JSON only; with kubectl, use `kubectl apply` or `kubectl create -f`")
        message = _KINDS[type_].FromString(envelope.raw)
    except DecodeError as error:
        raise BadRequestError(f"the body is not in Kubernetes' protobuf form: {error}") from error
    _refuse_unknown(message, type_[1])
    document = MessageToDict(message, preserving_proto_field_name=True)
    for field in ("creationTimestamp", "generation", "selfLink"):  # the server's
        document.get("metadata", {}).pop(field, None)
    document.pop("status", None)
    for port in document.get("spec", {}).get("ports", ()):
        _replace_target(port)
    return {"apiVersion": type_[0], "kind": type_[1], **document}


def _replace_target(port: dict[str, Any]) -> None:
    target = port.pop("targetPort", None)
    if target and (value := target.get("strVal") or target.get("intVal")):
        port["targetPort"] = value


def _refuse_unknown(message: Message, path: str) -> None:
    """What this form knows and we do not would vanish without a word."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise BadRequestError(
            f"{path} has field number {unknown[0].field_number}, which Galley does not know in this form; use `kubectl apply` or `kubectl create -f`"
        )
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in value if field.is_repeated else (value,):
            _refuse_unknown(inner, f"{path}.{field.name}")
