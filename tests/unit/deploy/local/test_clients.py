# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from common.identity.kubeconfig import write_kubeconfig
from deploy.local import configuration
from deploy.local.clients import object_path
from deploy.local.configuration import ConfigurationRefused

NETWORKING = "networking.istio.io/v1alpha3"


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ((NETWORKING, "VirtualService", "default", "reviews"), f"/apis/{NETWORKING}/namespaces/default/virtualservices/reviews"),
        ((NETWORKING, "virtualservices", "default", "reviews"), f"/apis/{NETWORKING}/namespaces/default/virtualservices/reviews"),
        (("v1", "Service", "", ""), "/api/v1/services"),
        (("v1", "Namespace", "default", "x"), "/api/v1/namespaces/x"),
    ],
)
def test_paths_are_kubernetes_own(where: tuple[str, str, str, str], path: str) -> None:
    assert object_path(*where) == path


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no kind Pod in v1"):
        object_path("v1", "Pod", "", "")


def test_the_kubeconfig_is_kubectls_and_private(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("ROOTS")
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, name="shop", galley="127.0.0.1:8001", roots=roots, token="secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = yaml.safe_load(path.read_text())
    cluster = found["clusters"][0]["cluster"]
    assert cluster["server"] == "https://127.0.0.1:8001"
    assert cluster["tls-server-name"] == "istio-galley.istio-system.svc"
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"ROOTS"
    assert found["current-context"] == found["contexts"][0]["name"] == "shop"
    assert found["users"][0]["user"] == {"token": "secret"}


class FakeGalley:
    """Answers a batch as told, and remembers it."""

    def __init__(self, code: int, *problems: list[dict[str, Any]]) -> None:
        self.code, self.problems = code, problems
        self.items: list[dict[str, Any]] = []

    async def batch(self, items: list[dict[str, Any]]) -> httpx.Response:
        self.items = items
        rows = [{"resource": f"thing {n}", "problems": problems} for n, problems in enumerate(self.problems)]
        return httpx.Response(self.code, content=json.dumps({"items": rows}))


FILE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  prots: []\n"


async def test_documents_are_applied_together_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(FILE)
    galley = FakeGalley(200)
    await configuration.apply(galley, [file])  # type: ignore[arg-type]
    assert [(item["document"]["metadata"]["name"], item["source"]) for item in galley.items] == [
        ("a", {"file": str(file), "line": 1}),
        ("b", {"file": str(file), "line": 5}),
    ]


async def test_a_refusal_is_shown_where_it_stands_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(FILE)
    galley = FakeGalley(422, [], [{"path": "spec.prots", "message": "unknown field", "line": None}])
    with pytest.raises(ConfigurationRefused) as caught:
        await configuration.apply(galley, [file])  # type: ignore[arg-type]
    assert str(caught.value) == f"{file}:9: thing 1: spec.prots: unknown field"


async def test_what_cannot_be_read_never_reaches_galley(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\nb: 2\n")
    galley = FakeGalley(200)
    with pytest.raises(ConfigurationRefused, match=rf"{broken}:\d+: "):
        await configuration.apply(galley, [broken])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationRefused, match=r"absent\.yaml: No such file"):
        await configuration.apply(galley, [tmp_path / "absent.yaml"])  # type: ignore[arg-type]
    assert galley.items == []
