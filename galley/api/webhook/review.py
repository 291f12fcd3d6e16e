# SPDX-License-Identifier: Apache-2.0
"""AdmissionReview (v1 and v1beta1): a question about one object, answered with the rules of every other way into Galley.

What is not ours is let through: a webhook that answers `no` to kinds it does not know could stop a whole cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from common.config.problem import Problem
from common.config.registry import UnknownKindError, registry
from galley import metrics
from galley.sources.admission import Admitted
from galley.validation.enforcement import gaps

API_VERSIONS: Final = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
VALIDATED: Final = ("CREATE", "UPDATE")

Admit = Callable[[Mapping[str, Any], str], Admitted]
"""Validates a document, given the namespace of the request."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`request` of an AdmissionReview, as far as it matters here."""

    uid: str
    operation: str
    namespace: str = ""
    object: dict[str, Any] | None = None


class Review(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str
    kind: str
    request: Question


def answer(body: bytes, admit: Admit) -> dict[str, Any]:
    """The AdmissionReview that answers the one in `body`. A body that is none is refused in the same form, as the API server expects."""
    try:
        review = msgspec.json.decode(body, type=Review)
        if review.api_version not in API_VERSIONS or review.kind != "AdmissionReview":
            raise msgspec.ValidationError(f"{review.api_version} {review.kind} is not an AdmissionReview of {' or '.join(API_VERSIONS)}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        metrics.VALIDATION_FAILED.add(1, "", "", "", "yaml_decode_error")
        return _review(API_VERSIONS[0], {"uid": "", "allowed": False, "status": {"message": f"cannot read the AdmissionReview: {error}"}})
    return _review(review.api_version, {"uid": review.request.uid, **_decide(review.request, admit)})


def _review(api_version: str, response: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "AdmissionReview", "response": response}


def _decide(question: Question, admit: Admit) -> dict[str, Any]:
    if question.operation not in VALIDATED:
        metrics.VALIDATION_FAILED.add(1, "", "", "", "unsupported_operation")
        return {"allowed": True}
    if question.object is None:
        return _refused((Problem(path="request.object", message="is missing"),), "")
    document = _named(question.object)
    try:
        registry.find(str(document.get("apiVersion", "")), str(document.get("kind", "")))
    except UnknownKindError as error:
        metrics.VALIDATION_FAILED.add(1, "", "", "", "unknown_type")
        return {"allowed": True, "warnings": [f"Galley did not look at this: {error}"]}
    admitted = admit(document, question.namespace)
    if admitted.is_valid:
        warnings = [gap.message for gap in gaps(admitted.resource)] if admitted.resource else []
        return {"allowed": True, **({"warnings": warnings} if warnings else {})}
    return _refused(admitted.problems, str(admitted.resource.key) if admitted.resource else str(document["kind"]))


def _named(document: dict[str, Any]) -> dict[str, Any]:
    """The API server asks before it turns `generateName` into a name."""
    metadata = document.get("metadata")
    if isinstance(metadata, dict) and not metadata.get("name") and isinstance(metadata.get("generateName"), str):
        return {**document, "metadata": {**metadata, "name": f"{metadata['generateName']}x"}}
    return document


def _refused(problems: tuple[Problem, ...], subject: str) -> dict[str, Any]:
    causes = [{"reason": "FieldValueInvalid", "field": problem.path, "message": problem.message} for problem in problems]
    message = "; ".join(map(str, problems))
    return {
        "allowed": False,
        "status": {
            "status": "Failure",
            "reason": "Invalid",
            "code": 422,
            "message": f"{subject} is invalid: {message}" if subject else message,
            "details": {"causes": causes},
        },
    }
