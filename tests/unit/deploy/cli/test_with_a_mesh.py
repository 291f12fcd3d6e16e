# SPDX-License-Identifier: Apache-2.0
"""apply, get, describe, delete and analyze against a real Galley."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli.connection import RefusedError, read_target
from tests.running_citadel import new_authority
from tests.running_galley import RunningGalley, api_token

Mesh = Callable[..., Awaitable[Any]]

CONFIG = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, labels: {app: reviews}}
spec:
  ports: [{name: http, port: 9080}]
  selector: {app: reviews}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


async def test_apply_says_what_became_of_each(mesh: Mesh, config: str) -> None:
    ran = await mesh("apply", "-f", config)
    assert (ran.code, ran.out) == (0, "Service default/reviews created\nVirtualService default/reviews created\n")
    assert (await mesh("apply", "-f", config)).out == "Service default/reviews unchanged\nVirtualService default/reviews unchanged\n"
    Path(config).write_text(CONFIG.replace("9080", "9081"))
    assert (await mesh("apply", "-f", config)).out.splitlines()[0] == "Service default/reviews configured"


async def test_apply_refuses_with_the_line_of_the_file_and_stores_nothing(mesh: Mesh, config: str) -> None:
    Path(config).write_text(CONFIG.replace("- route", "- rout"))
    ran = await mesh("apply", "-f", config)
    assert ran.code == 65
    assert ran.err.splitlines() == [
        f"{config}:14:5: VirtualService default/reviews",
        "    spec.http[0].rout: unknown field 'rout'; did you mean 'route'?",
        "   14 |   - rout:",
        "      |     ^",
        "✘ 1 problem; nothing was stored",
    ]
    assert "No services found" in (await mesh("get", "svc")).err


async def test_what_only_galley_knows_gets_its_line_too(mesh: Mesh, one_galley: RunningGalley, tmp_path: Path) -> None:
    rule = tmp_path / "rule.yaml"
    rule.write_text(
        "apiVersion: config.istio.io/v1alpha2\nkind: rule\nmetadata: {name: r}\nspec:\n"
        "  match: my.flag\n  actions: [{handler: h, instances: [i]}]\n"
    )
    ran = await mesh("apply", "-f", str(rule))
    assert ran.code == 65
    assert ran.err.splitlines()[0] == f"{rule}:5:3: rule default/r"
    assert "unknown attribute my.flag" in ran.err
    manifest = {"apiVersion": "config.istio.io/v1alpha2", "kind": "attributemanifest", "metadata": {"name": "m"}}
    await one_galley.apply({**manifest, "spec": {"attributes": {"my.flag": {"valueType": "BOOL"}}}})
    assert (await mesh("apply", "-f", str(rule))).out == "rule default/r created\n"


async def test_dry_run_stores_nothing(mesh: Mesh, config: str) -> None:
    assert (await mesh("apply", "-f", config, "--dry-run")).out.splitlines()[0] == "Service default/reviews created (dry run)"
    assert (await mesh("get", "svc")).out == ""


async def test_apply_json(mesh: Mesh, config: str) -> None:
    ran = await mesh("apply", "-f", config, "-o", "json")
    assert [item["action"] for item in json.loads(ran.out)["items"]] == ["created", "created"]


async def test_apply_of_nothing_is_an_error(mesh: Mesh) -> None:
    ran = await mesh("apply", "-f", "-", stdin="# nothing\n")
    assert (ran.code, ran.err) == (65, "fourmast: there is no resource in standard input\n")


async def test_get_shows_tables(mesh: Mesh, config: str) -> None:
    await mesh("apply", "-f", config)
    head, row = (await mesh("get", "virtualservices")).out.splitlines()
    assert head.split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert row.split()[:2] == ["reviews", "reviews"]
    head, row = (await mesh("get", "svc", "-A", "-o", "wide")).out.splitlines()
    assert head.split() == ["NAMESPACE", "NAME", "CLUSTER-IP", "PORTS", "SELECTOR", "AGE", "LABELS", "VERSION", "STATUS"]
    assert row.split()[:2] == ["default", "reviews"]
    assert "9080/TCP" in row
    assert (await mesh("get", "vs", "-o", "name")).out == "virtualservice/reviews\n"
    assert "No virtualservices found in namespace other." in (await mesh("get", "vs", "-n", "other")).err


async def test_get_shows_one_as_yaml_that_can_be_applied_again(mesh: Mesh, config: str) -> None:
    await mesh("apply", "-f", config)
    shown = (await mesh("get", "vs", "reviews", "-o", "yaml")).out
    assert yaml.safe_load(shown)["spec"]["hosts"] == ["reviews"]
    assert (await mesh("apply", "-f", "-", stdin=shown)).out == "VirtualService default/reviews unchanged\n"


async def test_get_of_what_is_not_there(mesh: Mesh) -> None:
    ran = await mesh("get", "vs", "gone")
    assert ran.code == 1
    assert "gone" in ran.err


async def test_describe_shows_the_resource(mesh: Mesh, config: str) -> None:
    await mesh("apply", "-f", config)
    ran = await mesh("describe", "vs", "reviews")
    assert ran.out.startswith("VirtualService default/reviews\n  Created:")
    assert f" by admin from {config}:8\n" in ran.out
    assert "hosts:" in ran.out


async def test_delete_by_name_and_by_file(mesh: Mesh, config: str) -> None:
    await mesh("apply", "-f", config)
    assert (await mesh("delete", "vs", "reviews")).out == "VirtualService default/reviews deleted\n"
    ran = await mesh("delete", "-f", config)
    assert (ran.code, ran.out, ran.err) == (1, "Service default/reviews deleted\n", "VirtualService default/reviews not found\n")
    assert (await mesh("delete", "-f", config, "--ignore-not-found")).code == 0
    assert (await mesh("delete")).code == 2


async def test_diff_shows_what_apply_would_change(mesh: Mesh, config: str) -> None:
    ran = await mesh("diff", "-f", config)
    assert ran.code == 1
    assert f"+++ {config}: Service default/reviews" in ran.out.splitlines()
    await mesh("apply", "-f", config)
    assert (await mesh("diff", "-f", config)).out == ""
    Path(config).write_text(CONFIG.replace("hosts: [reviews]", "hosts: [ratings]"))
    ran = await mesh("diff", "-f", config)
    changed = [line for line in ran.out.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert (ran.code, changed) == (1, ["-  - reviews", "+  - ratings"])


async def test_wait_ends_with_a_hint_when_nobody_reports(mesh: Mesh, config: str) -> None:
    await mesh("apply", "-f", config)
    ran = await mesh("wait", "vs", "reviews", "--timeout", "0.3s")
    assert ran.code == 1
    assert "nobody has reported on its current version within 0.3s" in ran.err


async def test_analyze_without_files_looks_at_the_mesh(mesh: Mesh, config: str) -> None:
    await mesh("apply", "-f", config)
    assert (await mesh("analyze")).code == 0
    Path(config).write_text(CONFIG.replace("destination: {host: reviews}", "destination: {host: reveiws}"))
    ran = await mesh("analyze", "-k", "-f", config)
    assert ran.code == 79
    assert 'did you mean "reviews"?' in ran.out
    await mesh("apply", "-f", config)
    assert "IST0101" in (await mesh("analyze")).out


async def test_analyze_shows_what_files_would_do_to_the_mesh(mesh: Mesh, config: str, tmp_path: Path) -> None:
    Path(config).write_text(CONFIG.replace("destination: {host: reviews}", "destination: {host: reveiws}"))
    await mesh("apply", "-f", config)
    more = tmp_path / "more.yaml"
    more.write_text("apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: nowhere\n")
    ran = await mesh("analyze", "-k", "-f", str(more))
    assert [line.split()[1] for line in ran.out.splitlines()] == ["[IST0101]", "[IST0174]"]
    ran = await mesh("analyze", "-k", "--new", "-f", str(more))
    assert (ran.code, len(ran.out.splitlines())) == (79, 1)
    assert f"[IST0174] (DestinationRule default/a {more}:5)" in ran.out
    repaired = tmp_path / "repaired.yaml"
    repaired.write_text(CONFIG)
    assert (await mesh("analyze", "-k", "-f", str(repaired))).code == 0, "the files win over what the mesh has"
    assert (await mesh("analyze", "-k", "--new")).code == 2


async def test_a_viewer_may_look_but_not_write(mesh: Mesh, config: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    target = read_target(kubeconfig)
    kubeconfig.write_text(kubeconfig.read_text().replace(target.token, api_token("viewer")))
    ran = await mesh("apply", "-f", config)
    assert ran.code == 1
    assert "may not write" in ran.err
    assert (await mesh("get", "vs")).code == 0


async def test_a_wrong_root_and_a_dead_server_are_told_apart(mesh: Mesh, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    text = kubeconfig.read_text()
    kubeconfig.write_text(text.replace(read_target(kubeconfig).server, "https://127.0.0.1:1"))
    assert "Is the mesh up?" in (await mesh("get", "vs")).err
    document = yaml.safe_load(text)
    document["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(new_authority().bundle_pem).decode()
    kubeconfig.write_text(yaml.safe_dump(document))
    assert "does not trust" in (await mesh("get", "vs")).err


def test_a_refusal_says_what_the_server_said() -> None:
    assert str(RefusedError(403, {"message": "no"})) == "no"
    assert str(RefusedError(404, {"detail": {"code": "X", "message": "not here"}})) == "not here"
    assert str(RefusedError(500, {})) == "the server answered 500"


RULE = (
    "apiVersion: config.istio.io/v1alpha2\nkind: rule\nmetadata: {name: r}\nspec:\n"
    "  match: my.flag\n  actions: [{handler: h, instances: [i]}]\n"
)


async def test_validate_may_ask_the_mesh(mesh: Mesh, one_galley: RunningGalley, tmp_path: Path) -> None:
    rule = tmp_path / "rule.yaml"
    rule.write_text(RULE + "---\nspec: [\n")
    ran = await mesh("validate", "-f", str(rule), "--server", "-o", "json")
    assert ran.code == 65
    first, second = json.loads(ran.out)
    assert (first["resource"], first["valid"], first["errors"][0]["path"], first["errors"][0]["line"]) == (
        "rule default/r",
        False,
        "spec.match",
        5,
    )
    assert not second["valid"]
    manifest = {"apiVersion": "config.istio.io/v1alpha2", "kind": "attributemanifest", "metadata": {"name": "m"}}
    await one_galley.apply({**manifest, "spec": {"attributes": {"my.flag": {"valueType": "BOOL"}}}})
    rule.write_text(RULE)
    assert (await mesh("validate", "-f", str(rule))).code == 65
    ran = await mesh("validate", "-f", str(rule), "--server")
    assert (ran.code, ran.out) == (0, "✔ 1 resource valid\n")
    assert (await mesh("get", "rules")).out == ""


async def test_what_is_not_enforced_is_said_when_it_is_applied(mesh: Mesh) -> None:
    spec = "spec: {patterns: [{httpMethod: GET, uriTemplate: /}]}\n"
    text = f"apiVersion: config.istio.io/v1alpha2\nkind: HTTPAPISpec\nmetadata: {{name: x}}\n{spec}"
    ran = await mesh("apply", "-f", "-", stdin=text)
    assert (ran.code, ran.out) == (0, "HTTPAPISpec default/x created\n")
    assert ran.err == "⚠ HTTPAPISpec default/x: HTTPAPISpec has no effect, as in Istio 1.4\n"
    ran = await mesh("validate", "-f", "-", "-o", "json", stdin=text)
    assert (ran.code, json.loads(ran.out)[0]["warnings"]) == (0, ["HTTPAPISpec has no effect, as in Istio 1.4"])
