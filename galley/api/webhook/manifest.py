# SPDX-License-Identifier: Apache-2.0
"""The ValidatingWebhookConfiguration that sends objects here, for `kubectl apply` into a Kubernetes cluster.

It names each kind; nothing in it is a wildcard, and no kind of Kubernetes itself is in it. So when no Galley answers, the failure policy
`Fail` holds up Istio's configuration and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final, Literal

import common.config.kinds  # noqa: F401 - registers every kind
from common.config.registry import Kind, registry

FailurePolicy = Literal["Fail", "Ignore"]

NAME: Final = "istio-galley"
PILOT_PLURALS: Final = frozenset({"httpapispecs", "httpapispecbindings", "quotaspecs", "quotaspecbindings"})
"""Kinds of config.istio.io that Pilot reads; the others are Mixer's."""
SECONDS: Final = 10
"""How long the API server waits. Istio 1.4 left it at 30, and a Galley that was gone held each write up for as long."""


def manifest(client: dict[str, Any], ca_pem: bytes, *, failure_policy: FailurePolicy = "Fail") -> dict[str, Any]:
    """`client` is `{"url": "https://…"}` or `{"service": {"name": …, "namespace": …, "port": …}}`; the paths are added here."""
    bundle = base64.b64encode(ca_pem).decode()
    mixer, pilot = (
        sorted((kind for kind in registry if is_ours(kind) and for_mixer(kind) is wanted), key=_order) for wanted in (True, False)
    )
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME, "labels": {"app": "galley", "istio": "galley"}},
        "webhooks": [
            _webhook("pilot.validation.istio.io", pilot, _client(client, "/admitpilot") | {"caBundle": bundle}, failure_policy),
            _webhook("mixer.validation.istio.io", mixer, _client(client, "/admitmixer") | {"caBundle": bundle}, failure_policy),
        ],
    }


def is_ours(kind: Kind) -> bool:
    """Kubernetes validates its own kinds."""
    return kind.group == "istio.io" or kind.group.endswith(".istio.io")


def for_mixer(kind: Kind) -> bool:
    return kind.group == "config.istio.io" and kind.plural not in PILOT_PLURALS


def _order(kind: Kind) -> tuple[str, str, str]:
    return (kind.group, kind.version, kind.plural)


def _client(client: dict[str, Any], path: str) -> dict[str, Any]:
    if url := client.get("url"):
        return {"url": f"{url.rstrip('/')}{path}"}
    return {"service": {**client["service"], "path": path}}


def _webhook(name: str, kinds: Iterable[Kind], client: dict[str, Any], failure_policy: FailurePolicy) -> dict[str, Any]:
    return {
        "name": name,
        "clientConfig": client,
        "rules": [
            {
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": [group],
                "apiVersions": [version],
                "resources": [kind.plural for kind in members],
                "scope": "*",
            }
            for (group, version), members in groupby(kinds, key=lambda kind: (kind.group, kind.version))
        ],
        "matchPolicy": "Exact",
        "failurePolicy": failure_policy,
        "sideEffects": "None",
        "timeoutSeconds": SECONDS,
        "admissionReviewVersions": ["v1", "v1beta1"],
    }
